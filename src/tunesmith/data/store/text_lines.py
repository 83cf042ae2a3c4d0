"""Plain text: every line that is not blank is a row with the column `text`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.row_file import Addresses, Unreadable

_LONGEST_BLANK_BYTES = 64
"""A longer line of nothing but spaces is a row, and an empty one."""


class TextLines:
    """The lines of `file` but for blank ones, which paragraphs have between them."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._first = file.text_start()

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the lines from `start` on."""
        for spans in self._file.line_spans(self._first if start is None else start[0]):
            rows = spans[~self._are_blank(spans)]
            if len(rows):
                yield rows

    def read(self, address: Address) -> Any:
        """The line at `address`, Unreadable if it is not UTF-8."""
        try:
            return {"text": self.raw(address).decode()}
        except UnicodeDecodeError as error:
            line = self._file.num_line_breaks(address[0]) + 1
            return Unreadable(f"line {line}: not UTF-8 (byte {error.start} of the line: {error.reason})")

    def _are_blank(self, spans: Addresses) -> NDArray[np.bool_]:
        """(rows,) whether the line holds nothing but whitespace."""
        lengths = spans[:, 1]
        are_blank: NDArray[np.bool_] = lengths == 0
        for index in np.flatnonzero((lengths > 0) & (lengths <= _LONGEST_BLANK_BYTES)):
            offset, length = spans[index].tolist()
            are_blank[index] = not self._file.read(offset, length).strip()
        return are_blank

    def raw(self, address: Address) -> bytes:
        """The line without its break."""
        return self._file.read(*address).rstrip(b"\r\n")
