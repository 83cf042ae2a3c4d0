"""JSON objects one a line (JSONL), and what a .json file that begins with an object is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.json_faults import BEYOND_PYTHON, find_line_fault
from tunesmith.data.store.row_file import Addresses, Unreadable

_BLANKS = b" \t\r\n\v\f"
_LAST_BLANK = 0x20


class JsonLines:
    """The lines of `file` from the byte `first` on; blank ones are no rows."""

    def __init__(self, file: ByteFile, first: int) -> None:
        self._file = file
        self._first = first

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the rows from `start` on."""
        for chunk in self._file.line_spans(self._first if start is None else start[0]):
            full = self._without_blank_lines(chunk)
            if len(full):
                yield full

    def _without_blank_lines(self, spans: Addresses) -> Addresses:
        """A line that begins with anything above the blanks is full; the few others are looked at."""
        spans = spans[spans[:, 1] > 0]
        if not len(spans):
            return spans
        start = int(spans[0, 0])
        content = np.frombuffer(self._file.read(start, int(spans[-1].sum()) - start), np.uint8)
        full = content[spans[:, 0] - start] > _LAST_BLANK
        for index in np.flatnonzero(~full):
            offset, length = spans[index]
            full[index] = bool(content[offset - start : offset - start + length].tobytes().strip(_BLANKS))
        return spans[full]

    def read(self, address: Address) -> Any:
        """The row at `address`, Unreadable if the line is not JSON."""
        try:
            return json.loads(self._file.read(*address).decode())
        except BEYOND_PYTHON:
            return Unreadable(str(find_line_fault(self._file, *address)))

    def raw(self, address: Address) -> bytes:
        """The line without the blanks around it."""
        return self._file.read(*address).strip(_BLANKS)


def is_lines(file: ByteFile, start: int, *, named_lines: bool) -> bool:
    """Whether rows stand one a line in a file that begins with an object at `start`.

    As the name says (.jsonl), or, in a .json file, as two or more lines show.
    """
    offset, line = next(file.lines(start))
    if named_lines:
        return line.strip() != b"{"
    return line.rstrip().endswith(b"}") and file.first_byte(offset + len(line)) is not None
