"""The files of a dataset, each opened when one of its rows is first asked for, in every process anew."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from tunesmith.data.rows.sources import DataFile
from tunesmith.data.store.row_file import RowFile

_MAX_OPEN = 64
"""Per dataset; a process may have about a thousand files open."""


class OpenFiles:
    """Safe between threads, after a fork, and to pickle: what is open stays behind."""

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = tuple(files)
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, RowFile] = OrderedDict()

    def __getstate__(self) -> tuple[DataFile, ...]:
        return self._files

    def __setstate__(self, files: tuple[DataFile, ...]) -> None:
        self._files = files
        self._start_anew()

    def __getitem__(self, number: int) -> RowFile:
        """The file `number`. Raises DataError where it cannot be opened."""
        if self._process != os.getpid():  # a fork: the lock may be held by a thread that is not here
            self._start_anew()
        with self._lock:
            if number not in self._opened:
                self._opened[number] = self._files[number].open()
            self._opened.move_to_end(number)
            if len(self._opened) > _MAX_OPEN:
                self._opened.popitem(last=False)
            return self._opened[number]
