"""`tunesmith data check`: all rows through encoding before any training. No weights are read."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import env, log
from tunesmith.cli.arguments import read_limit, split_arguments
from tunesmith.cli.imports import importing
from tunesmith.errors import UsageError

if TYPE_CHECKING:
    from tunesmith.data.report.check import CheckedData, Watch

HELP = """tunesmith data check [run.yaml] [--limit N] [--html FILE] [--json FILE] [key=value]...

Encodes all rows as a training would, without the model's weights, and says what became of each: kept, cut, dropped,
unusable; how long the examples are; and what would ruin a run: answers without an end token, empty or constant
answers, images of four tokens, the wrong chat template, duplicates, held-out rows that are trained on.

  --limit N    only the first N rows of each dataset
  --html FILE  a page with the findings, the lengths and the first samples, their labels coloured
  --json FILE  everything as JSON; without it, data_report.json in output_dir where one is set
  preprocessing_num_workers=N   processes (the cores of this machine)

The exit status is 1 if a row cannot be used and on_bad_row is stop, or a finding is an error.

  tunesmith data check run.yaml --html check.html
"""
_SAID_EVERY_S = 10.0


def run(argv: Sequence[str]) -> int:
    """Check, print the summary, write the files asked for."""
    arguments = split_arguments(argv, options=("limit", "html", "json"))
    limit, page, report = read_limit(arguments), arguments.option("html"), arguments.option("json")
    from tunesmith.config.read import load_settings

    log.set_up()
    settings = load_settings(arguments.target, arguments.overrides, verb="data")
    places = [Path(name) for name in (page, report) if name]
    for place in places:
        _require_folder(place)
    with importing():
        from tunesmith.data.report.check import check_data

    with _progress() as watch:
        checked = check_data(settings, limit=limit, watch=watch)
    _print_summary(checked)
    if page:
        from tunesmith.data.report.check_page import write_check_page

        _write(Path(page), write_check_page(checked))
    if not report and settings.training.output_dir:
        report = str(Path(settings.training.output_dir) / "data_report.json")
    if report:
        _write(Path(report), [json.dumps(checked.to_dict(), ensure_ascii=False, indent=1), "\n"])
    return 1 if checked.has_errors else 0


def _require_folder(place: Path) -> None:
    if not place.absolute().parent.is_dir():
        raise UsageError(f"command line: {place}: there is no folder {place.parent}; make it first")


def _write(place: Path, pieces: Iterable[str]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
    except OSError as error:
        raise UsageError(f"{place} cannot be written ({error.strerror}); choose another place") from None
    print(f"written  {place}")


def _print_summary(checked: CheckedData) -> None:
    from rich.console import Console

    from tunesmith.data.report.check_text import summarise

    console = Console(no_color=True if env.no_color() else None, highlight=False, soft_wrap=True)
    for line in summarise(checked):
        console.print(line)


@contextmanager
def _progress() -> Iterator[Watch]:
    """A bar where stderr is a terminal, a line every ten seconds elsewhere."""
    if not sys.stderr.isatty():
        yield _SayNowAndThen()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("check", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _SayNowAndThen:
    """Logs where the check is."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._said_at >= _SAID_EVERY_S:
            self._said_at = time.monotonic()
            log.info(f"{done:,} rows looked at" if total is None else f"{done:,} of {total:,} rows looked at")
