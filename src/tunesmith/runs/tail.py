"""The last lines of what a run said or measured, and those that come.

A detached run says everything in log.txt, its numbers among the rest; of a run in a terminal there are the lines of
metrics.jsonl, shown as that terminal shows them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import RunError
from tunesmith.runs.overview import look_at
from tunesmith.runs.state import LIVE
from tunesmith.runs.table import describe_steps
from tunesmith.train.display.progress import describe_line
from tunesmith.train.folder.run_folder import RunFolder

_BETWEEN_LOOKS_S = 0.3
_TAIL_BYTES = 1024 * 1024


@dataclass(slots=True)
class GrowingFile:
    """Reads what is added to a file after `place` (bytes), line by line. One that was cut is read from its start."""

    path: Path
    place: int = 0
    _unfinished: bytes = field(default=b"")

    def new_lines(self) -> list[str]:
        """Whole lines since the last call."""
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, 2) < self.place:
                    self.place, self._unfinished = 0, b""
                stream.seek(self.place)
                added = stream.read()
        except FileNotFoundError:
            return []
        self.place += len(added)
        *lines, self._unfinished = (self._unfinished + added).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in lines]


def last_lines(folder: RunFolder, *, count: int) -> list[str]:
    """At most `count` lines. Raises RunError where the run has written neither log nor numbers."""
    source = _source(folder)
    if source is None:
        raise RunError(f"{folder.path} holds neither {folder.log.name} nor {folder.metrics.name} yet")
    with source.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return [_describe(line, source) for line in lines[-count:]] if count else []


def follow(folder: RunFolder, *, count: int) -> Iterator[str]:
    """The last `count` lines, then each as it comes, until the run ends."""
    source = _source(folder)
    while source is None:
        if not _is_live(folder):
            return
        time.sleep(_BETWEEN_LOOKS_S)
        source = _source(folder)
    growing = GrowingFile(source, source.stat().st_size)
    yield from last_lines(folder, count=count)
    while True:
        live = _is_live(folder)  # asked before reading: what a run writes last is not missed
        yield from (_describe(line, source) for line in growing.new_lines())
        if not live:
            return
        time.sleep(_BETWEEN_LOOKS_S)


def describe_now(folder: RunFolder) -> str:
    """The state in one line, and what is wrong with the folder's files."""
    run = look_at(folder.path)
    step = "" if run.step is None else f" at step {describe_steps(run)}"
    notes = "".join(f"; {note}" for note in (run.reason, *run.problems) if note)
    return f"{folder.path}: {run.state}{step}{notes}"


def _is_live(folder: RunFolder) -> bool:
    return look_at(folder.path).state in LIVE


def _source(folder: RunFolder) -> Path | None:
    """The log, unless the run goes on in a terminal since it was last written to."""
    if folder.metrics.exists() and (not folder.log.exists() or _is_of_an_earlier_start(folder)):
        return folder.metrics
    return folder.log if folder.log.exists() else None


def _is_of_an_earlier_start(folder: RunFolder) -> bool:
    started = look_at(folder.path).started
    return started is not None and folder.log.stat().st_mtime < started.timestamp()


def _describe(text: str, source: Path) -> str:
    if source.suffix != ".jsonl":
        return text
    try:
        return describe_line(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"(a line that cannot be read: {text[:80]})"
