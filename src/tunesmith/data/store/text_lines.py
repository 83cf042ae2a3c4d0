"""Plain text: every line is a row with the column `text`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.row_file import Addresses, Unreadable


class TextLines:
    """The lines of `file`, blank ones too."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._first = file.text_start()

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the lines from `start` on."""
        return self._file.line_spans(self._first if start is None else start[0])

    def read(self, address: Address) -> Any:
        """The line at `address`, Unreadable if it is not UTF-8."""
        try:
            return {"text": self.raw(address).decode()}
        except UnicodeDecodeError as error:
            line = self._file.num_line_breaks(address[0]) + 1
            return Unreadable(f"line {line}: not UTF-8 (byte {error.start} of the line: {error.reason})")

    def raw(self, address: Address) -> bytes:
        """The line without its break."""
        return self._file.read(*address).rstrip(b"\r\n")
