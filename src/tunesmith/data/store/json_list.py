"""A JSON list of rows, `[{…}, …]`, of any size: found by `json_scan`, decoded one row at a time.

A row's address runs from the comma before it to the comma after it, blanks included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.json_faults import BEYOND_PYTHON, find_element_fault, place_of
from tunesmith.data.store.json_scan import Positions, ScanState, scan
from tunesmith.data.store.row_file import Addresses, Unreadable
from tunesmith.errors import DataError

_BLANKS = b" \t\r\n"


class JsonList:
    """The rows of the list in `file`, whose bracket stands at `bracket`."""

    def __init__(self, file: ByteFile, bracket: int) -> None:
        self._file = file
        self._first = bracket + 1

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the rows from `start` on. Raises DataError where the list is broken or cut."""
        row_start = self._first if start is None else start[0]
        for ends, end in self._scan(row_start):
            if end is not None:
                last = self._last_row(int(ends[-1]) + 1 if len(ends) else row_start, end)
                ends = np.concatenate((ends, last))
            if len(ends):
                starts = np.concatenate(([row_start], ends[:-1] + 1))
                row_start = int(ends[-1]) + 1
                yield np.stack((starts, ends - starts), axis=1)
            if end is not None:
                return self._require_nothing_after(end + 1)
        raise self._first_fault()

    def _scan(self, row_start: int) -> Iterator[tuple[Positions, int | None]]:
        """Offsets of the commas between rows from `row_start` on, and of the bracket that closes the list once it is
        met, which ends the scan."""
        state = ScanState()
        for offset, chunk in self._file.chunks(row_start):
            scanned = scan(np.frombuffer(chunk, np.uint8), state)
            state = scanned.state
            yield scanned.commas + offset, None if scanned.end is None else scanned.end + offset
            if scanned.end is not None:
                return

    def _last_row(self, start: int, end: int) -> Positions:
        """The end of the row before the closing bracket; none in an empty list. Raises DataError after a comma."""
        if self._file.read(start, end - start).strip(_BLANKS):
            return np.array([end])
        if start == self._first:
            return np.empty(0, np.int64)
        raise self._first_fault()

    def _require_nothing_after(self, end: int) -> None:
        rest = self._file.first_byte(end)
        if rest is None:
            return
        num_rows = sum(1 for _ in self._elements())
        place = f"{place_of(self._file, rest)} (row {num_rows})"
        raise DataError(f"{self._file.path}, {place}: not JSON: text after the closing ]")

    def _first_fault(self) -> DataError:
        """The error for a list whose brackets do not fit: what its first unsound row says, from the beginning."""
        row, start = self._first_unsound_row()
        fault = find_element_fault(self._file, start)
        if fault is None:
            return DataError(f"{self._file.path}, row {row}: the list of rows does not end with ]")
        place = f"{fault.place} (row {row})" if fault.place else f"row {row}"
        return DataError(f"{self._file.path}, {place}: {fault.reason}")

    def _first_unsound_row(self) -> tuple[int, int]:
        """Number and offset of the first row that is not JSON, or else of the last one."""
        place = 0, self._first
        for row, (start, length) in enumerate(self._elements()):
            place = row, start
            if isinstance(self.read((start, length)), Unreadable):
                break
        return place

    def _elements(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of the elements from the beginning, the last one cut where the file is; raises nothing."""
        start, end = self._first, self._file.size
        for commas, bracket in self._scan(start):
            for comma in commas.tolist():
                yield start, comma - start
                start = comma + 1
            end = end if bracket is None else bracket
        if start > self._first or self._file.read(start, end - start).strip(_BLANKS):
            yield start, end - start

    def read(self, address: Address) -> Any:
        """The row at `address`, Unreadable if it is not JSON."""
        try:
            return json.loads(self._file.read(*address).decode())
        except BEYOND_PYTHON:
            return Unreadable(self._describe(*address))

    def _describe(self, offset: int, length: int) -> str:
        try:
            fault = find_element_fault(self._file, offset, length + 1)
        except DataError as error:
            return str(error)
        return str(fault or "the file has changed since it was opened")

    def raw(self, address: Address) -> bytes:
        """The row's text without the blanks around it."""
        return self._file.read(*address).strip(_BLANKS)
