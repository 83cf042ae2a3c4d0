"""`tunesmith data preview`: examples as the model will see them, before any training. No weights are read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tunesmith import env, log
from tunesmith.cli.arguments import Arguments, read_limit, split_arguments
from tunesmith.cli.imports import importing
from tunesmith.errors import UsageError

if TYPE_CHECKING:
    from tunesmith.data.problem import RowProblem
    from tunesmith.data.report.preview import PreviewedRow

HELP = """tunesmith data preview [run.yaml] [--format text|jsonl|html] [--limit N] [key=value]...

Shows examples after every step: the rendered text, its tokens, what is in the loss, what was cut. Reads only the rows
it shows. Rows that cannot be used are named on stderr; the exit status is 1 if there are any and on_bad_row is stop.

  --format F   text (default; the loss in colour), jsonl (one object a line), html (a page that needs nothing else)
  --limit N    how many examples (5)
  --color      colours even where the output is no terminal

  tunesmith data preview run.yaml --limit 3
  tunesmith data preview run.yaml --format html --limit 50 dataset=my.jsonl > preview.html
"""
FORMATS = ("text", "jsonl", "html")


def run(argv: Sequence[str]) -> int:
    """Print the preview to stdout."""
    arguments = split_arguments(argv, switches=("color",), options=("format", "limit"))
    form, limit = _read_format(arguments), read_limit(arguments) or 5
    from tunesmith.config.read import load_settings

    log.set_up()
    settings = load_settings(arguments.target, arguments.overrides, verb="data")
    with importing():
        from tunesmith.data.report.preview import is_left_out, preview_rows

    problems: list[RowProblem] = []
    rows = _naming_problems(preview_rows(settings, limit), problems)
    color = "color" in arguments.switches or (sys.stdout.isatty() and not env.no_color())
    for piece in _pieces(rows, form=form, color=color):
        sys.stdout.write(piece)
    stops = any(not is_left_out(problem) for problem in problems)
    return 1 if stops and settings.data.on_bad_row == "stop" else 0


def _read_format(arguments: Arguments) -> str:
    form = arguments.option("format", "text")
    if form not in FORMATS:
        raise UsageError(f"command line: --format {form}; expected one of {', '.join(FORMATS)}")
    return form


def _naming_problems(
    rows: Iterable[PreviewedRow | RowProblem], problems: list[RowProblem]
) -> Iterator[PreviewedRow | RowProblem]:
    """`rows` as they come; those that cannot be used are said on stderr and kept in `problems`."""
    from tunesmith.data.problem import RowProblem

    for row in rows:
        if isinstance(row, RowProblem):
            problems.append(row)
            print(row, file=sys.stderr)
        yield row


def _pieces(rows: Iterator[PreviewedRow | RowProblem], *, form: str, color: bool) -> Iterator[str]:
    from tunesmith.data.report.preview import PreviewedRow
    from tunesmith.data.report.preview_json import to_json_line
    from tunesmith.data.report.preview_page import write_page
    from tunesmith.data.report.preview_text import to_text

    if form == "html":
        yield from write_page(rows)
        return
    for row in rows:
        if isinstance(row, PreviewedRow):
            yield to_json_line(row) + "\n" if form == "jsonl" else to_text(row, color=color) + "\n"
