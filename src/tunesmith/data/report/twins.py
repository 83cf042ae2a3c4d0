"""Rows that are equal, found by 8 bytes a row.

Where a row stands is kept as stretches of consecutive rows, so that reading files in order costs nothing more. Knows
nothing of what the content is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from tunesmith.chat.message import RowSource

NUM_EXAMPLES = 20
"""Pairs that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Rows that are equal to another one, and the first pairs of them: (the row, the one that it repeats)."""

    rows: int = 0
    examples: tuple[tuple[RowSource, RowSource], ...] = ()


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Consecutive rows of a file: the `first`-th row added is row `row` of `file`."""

    first: int
    file: str
    row: int


class RowHashes:
    """The contents of rows, as 64-bit hashes in the order in which they were added."""

    def __init__(self) -> None:
        self._contents = array("Q")
        self._stretches: list[_Stretch] = []

    def __len__(self) -> int:
        return len(self._contents)

    def add(self, content: int, source: RowSource) -> None:
        """One more row."""
        number = len(self._contents)
        last = self._stretches[-1] if self._stretches else None
        if last is None or last.file != source.file or source.row - last.row != number - last.first:
            self._stretches.append(_Stretch(number, source.file, source.row))
        self._contents.append(content)

    @property
    def contents(self) -> np.ndarray:
        """(N,) uint64."""
        return np.frombuffer(self._contents, dtype=np.uint64) if self._contents else np.zeros(0, dtype=np.uint64)

    def source(self, number: int) -> RowSource:
        """Where the row that was added as `number` (from 0) stands."""
        stretch = self._stretches[bisect_right(self._stretches, number, key=lambda stretch: stretch.first) - 1]
        return RowSource(stretch.file, stretch.row + number - stretch.first)


def find_duplicates(rows: RowHashes) -> Twins:
    """Rows with the content of an earlier one. A row that was added several times (num_samples) counts once."""
    order = np.argsort(rows.contents, kind="stable")
    ordered = rows.contents[order]
    if not len(ordered):
        return Twins()
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(ordered))
    num_rows, pairs = 0, []
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        original, *others = dict.fromkeys(rows.source(int(number)) for number in order[start:end])
        num_rows += len(others)
        pairs += [(other, original) for other in others]
        del pairs[NUM_EXAMPLES:]
    return Twins(num_rows, tuple(pairs))


def find_leaks(held_out: RowHashes, train: RowHashes) -> Twins:
    """Held-out rows whose content stands in training."""
    order = np.argsort(train.contents, kind="stable")
    ordered = train.contents[order]
    places = np.searchsorted(ordered, held_out.contents)
    if not len(ordered):
        return Twins()
    found = np.flatnonzero(ordered[np.minimum(places, len(ordered) - 1)] == held_out.contents)
    examples = [(held_out.source(int(row)), train.source(int(order[places[row]]))) for row in found[:NUM_EXAMPLES]]
    return Twins(len(found), tuple(examples))
