"""How far a pass over rows has come: a bar on a terminal, elsewhere a line for each tenth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tunesmith import log
from tunesmith.train.display.progress import messages_above_the_bar

_LINES = 10


@contextmanager
def counting(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Inside, the function given tells of so many more of `total`."""
    if not sys.stderr.isatty():
        yield _Lines(total, what)
        return
    columns = (TextColumn(what), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
    task = progress.add_task(what, total=total)
    with progress, messages_above_the_bar():
        yield lambda count: progress.advance(task, count)


class _Lines:
    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done = 0

    def __call__(self, count: int) -> None:
        before = self._done * _LINES // self._total
        self._done += count
        if self._done * _LINES // self._total > before:
            log.info(f"{self._what}: {self._done:,} of {self._total:,}")
