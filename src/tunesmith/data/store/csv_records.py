"""CSV with a header line; a field in quotes may hold line breaks.

Records are found by counting quotes, and by the csv module itself, with the lines it takes counted along, from where a
quote stands as a letter inside a field.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from tunesmith.data.store import byte_file
from tunesmith.data.store.address import Address
from tunesmith.data.store.byte_file import ByteFile
from tunesmith.data.store.csv_scan import Positions, find_records
from tunesmith.data.store.row_file import Addresses, Unreadable
from tunesmith.errors import DataError

_RECORDS_PER_BLOCK = 1024

csv.field_size_limit(2**31 - 1)  # the default refuses answers above 128 KiB


class CsvRecords:
    """The records of `file` after its header. Raises DataError for a file without one."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        head = next(self._records(file.text_start()), None)
        if head is None:
            raise DataError(f"{file.path} is empty; expected a header line and rows")
        self._columns = self._fields(*head)
        self._first = sum(head)

    def counts(self) -> None:
        """Nothing in the file says how many rows it has."""

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the records from `start` on. Raises DataError for text that is no CSV."""
        record_start, num_bytes = self._first if start is None else start[0], byte_file.CHUNK_BYTES
        while text := self._file.read(record_start, num_bytes):
            ends = find_records(text)
            if ends is None or (not len(ends) and len(text) < num_bytes):
                yield from self._blocks_of_module(record_start)
                return
            if len(ends):
                yield _without_blank_lines(text, ends, record_start)
                record_start, num_bytes = record_start + int(ends[-1]) + 1, byte_file.CHUNK_BYTES
            else:
                num_bytes *= 2  # a record longer than that

    def _blocks_of_module(self, start: int) -> Iterator[Addresses]:
        records = self._records(start)
        while block := list(islice(records, _RECORDS_PER_BLOCK)):
            yield np.array(block, np.int64)

    def _records(self, start: int) -> Iterator[Address]:
        """(offset, length) of every record that is not blank, its line break included, as the csv module finds them."""
        taken = [0]
        reader = csv.reader(self._decoded(start, taken))
        while True:
            offset = start + taken[0]
            try:
                fields = next(reader, None)
            except csv.Error as error:
                line = self._file.num_line_breaks(offset) + 1
                raise DataError(f"{self._file.path}, line {line}: not CSV ({error})") from None
            if fields is None:
                return
            if fields:
                yield offset, start + taken[0] - offset

    def _decoded(self, start: int, taken: list[int]) -> Iterator[str]:
        """The lines from `start` as text; `taken[0]` counts the bytes of those that were asked for."""
        for offset, line in self._file.lines(start):
            taken[0] = offset + len(line) - start
            yield line.decode(errors="replace")  # where a record ends does not depend on what it says

    def _fields(self, offset: int, length: int) -> list[str]:
        text = self._file.read(offset, length).decode()
        return next(csv.reader(io.StringIO(text, newline="")), [])

    def read(self, address: Address) -> Any:
        """The record at `address` under the names of the header, Unreadable if it has another number of fields."""
        try:
            fields = self._fields(*address)
        except (UnicodeDecodeError, csv.Error) as error:
            return Unreadable(f"line {self._last_line(address)}: {error}")
        if len(fields) != len(self._columns):
            found = f"{len(fields)} fields, the header has {len(self._columns)}"
            return Unreadable(f"line {self._last_line(address)}: {found}")
        return dict(zip(self._columns, fields, strict=True))

    def _last_line(self, address: Address) -> int:
        return self._file.num_line_breaks(sum(address) - 1) + 1

    def raw(self, address: Address) -> bytes:
        """The header and the record: the same fields under other names are another row."""
        return repr(self._columns).encode() + self._file.read(*address).strip(b"\r\n")


def _without_blank_lines(text: bytes, ends: Positions, offset: int) -> Addresses:
    """The records that `ends` part, their line breaks included; `text` stands at `offset` of the file."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends + 1 - starts
    content = np.frombuffer(text, np.uint8)
    is_blank = (lengths == 1) | ((lengths == 2) & (content[starts] == ord("\r")))
    records: Addresses = np.stack((starts + offset, lengths), axis=1)[~is_blank]
    return records
