"""The addresses of all rows of a file: found once, kept in the cache folder, memory-mapped from then on.

Safe with many processes (a finished file is moved into place) and never stale (its name holds the data file's stamp).
Without a folder to write in, the addresses are found anew by each process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from tunesmith import env, log
from tunesmith.data.store.address import Address
from tunesmith.data.store.row_file import Addresses, RowFile
from tunesmith.data.store.stamp import stamp
from tunesmith.data.store.unfinished import becoming

_LAYOUT_VERSION = 1
"""Part of an index file's name: goes up when addresses mean something else."""

_MIN_KEPT_BYTES = 4 << 20
"""Smaller data files are looked through in no time."""


class RowIndex(Protocol):
    """Row number → address."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Address: ...


@dataclass(frozen=True, slots=True, eq=False)
class FoundRows:
    """Addresses in an array, often a memory-mapped one."""

    addresses: Addresses

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, row: int, /) -> Address:
        first, second = self.addresses[row].tolist()
        return first, second


class CountedRows:
    """Addresses (part, row in it), where the file says how many rows each part has."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._starts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int, /) -> Address:
        part = bisect_right(self._starts, row) - 1
        return part, row - self._starts[part]


def index_rows(file: RowFile, path: Path, *, at_most: int | None = None) -> RowIndex:
    """The addresses of the rows of `file`, the data file at `path`; of the first `at_most` if given.

    Raises DataError where the file is broken before the last row that is wanted.
    """
    counts = file.counts()
    if counts is not None:
        return CountedRows(counts)
    kept = _kept_file(path)
    if kept is not None and kept.is_file():
        return FoundRows(_map(kept))
    if kept is None or at_most is not None:
        return FoundRows(_collect(file, at_most))
    return FoundRows(_keep(file, kept))


def _kept_file(path: Path) -> Path | None:
    if path.stat().st_size < _MIN_KEPT_BYTES:
        return None
    return env.cache_folder() / "rows" / f"{stamp(path, purpose=f'rows {_LAYOUT_VERSION}')}.npy"


def _map(kept: Path) -> Addresses:
    addresses: Addresses = np.load(kept, mmap_mode="r")
    return addresses


def _collect(file: RowFile, at_most: int | None) -> Addresses:
    blocks: list[Addresses] = []
    num_found = 0
    for block in file.blocks():
        blocks.append(block)
        num_found += len(block)
        if at_most is not None and num_found >= at_most:
            break
    return np.concatenate(blocks)[:at_most] if blocks else np.empty((0, 2), np.int64)


def _keep(file: RowFile, kept: Path) -> Addresses:
    """Find all addresses and write them as they are found. Raises DataError where the file is broken."""
    try:
        with becoming(kept) as target:
            _write(target, file.blocks())
        return _map(kept)
    except OSError as error:
        log.note_once(f"the places of rows are not kept for the next run: {kept.parent} cannot be written ({error})")
    return _collect(file, None)


def _write(target: IO[bytes], blocks: Iterator[Addresses]) -> None:
    """An .npy file of unknown length: numpy pads its header so that the number of rows may grow."""
    _write_header(target, 0)
    num_rows = 0
    for block in blocks:
        target.write(np.ascontiguousarray(block, "<i8").tobytes())
        num_rows += len(block)
    target.seek(0)
    _write_header(target, num_rows)


def _write_header(target: IO[bytes], num_rows: int) -> None:
    header = {"descr": "<i8", "fortran_order": False, "shape": (num_rows, 2)}
    np.lib.format.write_array_header_1_0(target, header)
