"""The bytes of one file, anywhere in it, without a position: safe between threads and after a fork.

Read, not memory-mapped: mapped pages of a large file would count as this process's memory. Knows nothing of rows.
"""

from __future__ import annotations

import codecs
import itertools
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tunesmith.data.store.row_file import Addresses
from tunesmith.errors import DataError

CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_BYTE_ORDER_MARK = codecs.BOM_UTF8


class ByteFile:
    """The file at `path`, open for as long as this object lives. Raises DataError where it cannot be opened.

    `named`: what messages call it, where it was unpacked to another place.
    """

    def __init__(self, path: Path, *, named: Path | None = None) -> None:
        self.path = named or path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error})") from None
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer at the end of the file."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error})") from None

    def chunks(self, start: int) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of the stretches from `start` to the end."""
        while chunk := self.read(start, CHUNK_BYTES):
            yield start, chunk
            start += len(chunk)

    def lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """(offset, line with its break) of every line from `start`, which must begin one."""
        for spans in self.line_spans(start):
            first = int(spans[0, 0])
            text = self.read(first, int(spans[-1].sum()) + 1 - first)
            for offset, length in spans.tolist():
                yield offset, text[offset - first : offset - first + length + 1]

    def line_spans(self, start: int) -> Iterator[Addresses]:
        """(offset, length) of the lines from `start`, which must begin one; without their line breaks."""
        line_start = start
        for offset, chunk in self.chunks(start):
            breaks = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + offset
            if not len(breaks):
                continue
            starts = np.concatenate(([line_start], breaks[:-1] + 1))
            yield np.stack((starts, breaks - starts), axis=1)
            line_start = int(breaks[-1]) + 1
        if line_start < self.size:
            yield np.array([[line_start, self.size - line_start]], np.int64)

    def num_line_breaks(self, end: int) -> int:
        """Line breaks before the byte `end`."""
        before = itertools.takewhile(lambda stretch: stretch[0] < end, self.chunks(0))
        return sum(chunk[: end - offset].count(b"\n") for offset, chunk in before)

    def text_start(self) -> int:
        """Where the text begins: after a byte order mark. Raises DataError for a file that does not begin as UTF-8."""
        head = self.read(0, _HEAD_BYTES)
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) == self.size)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path, error.start, error.reason) from None
        return len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0

    def first_byte(self, start: int) -> int | None:
        """Offset of the first byte from `start` that is no blank; None for nothing but blanks."""
        for offset, chunk in self.chunks(start):
            stripped = chunk.lstrip(b" \t\r\n")
            if stripped:
                return offset + len(chunk) - len(stripped)
        return None


def not_utf8(path: Path, offset: int, reason: str) -> DataError:
    """The error for a file in another encoding."""
    return DataError(f"{path} is not UTF-8 (byte {offset}: {reason}); save it as UTF-8")
