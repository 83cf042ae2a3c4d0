"""Rows of several datasets, by number: all of them, or those that are trained on and those held out.

Numbers instead of rows: a few bytes for each, whatever it holds. Knows no order and no content.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from tunesmith.data.feed.mixing import number_type
from tunesmith.data.rows.dataset import Dataset
from tunesmith.data.store.address import RowRef
from tunesmith.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class ChosenRows:
    """`indices[d]` are rows of `datasets[d]`, ascending; together they are numbered from 0, dataset after dataset."""

    datasets: tuple[Dataset, ...]
    indices: tuple[range | np.ndarray, ...]

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Chosen rows of each dataset."""
        return tuple(len(indices) for indices in self.indices)

    def refs(self, numbers: Iterable[int]) -> tuple[RowRef, ...]:
        """Where the rows `numbers` stand."""
        starts = (0, *accumulate(self.sizes))
        refs = []
        for number in map(int, numbers):
            dataset = bisect_right(starts, number) - 1
            refs.append(self.datasets[dataset].ref(int(self.indices[dataset][number - starts[dataset]])))
        return tuple(refs)

    def has_blocks(self, dataset: int) -> bool:
        """Whether rows of a dataset are decoded many at a time."""
        return self.datasets[dataset].block_starts is not None

    def blocks(self, dataset: int) -> np.ndarray | None:
        """(n,) the block that each chosen row of a dataset is decoded with, from 0; None where rows stand alone."""
        starts = self.datasets[dataset].block_starts
        if starts is None:
            return None
        used = np.asarray(self.datasets[dataset].numbers)[np.asarray(self.indices[dataset])]
        blocks: np.ndarray = np.searchsorted(starts, used, side="right") - 1
        return blocks


def all_rows(datasets: Sequence[Dataset]) -> ChosenRows:
    """Every row of every dataset."""
    return ChosenRows(tuple(datasets), tuple(range(dataset.num_rows) for dataset in datasets))


def hold_out(datasets: Sequence[Dataset], *, val_size: float, seed: int) -> tuple[ChosenRows, ChosenRows]:
    """(train, held out), each in the order of the datasets, drawn by `seed`.

    `val_size` below 1 is a share (rounded up), else a number of rows. A row that stands there several times
    (num_samples) is held out once or not at all: the two never share a row. Raises UsageError if no row is left to
    train on.
    """
    identities = _identify(datasets)
    _, first, which = np.unique(identities, return_index=True, return_inverse=True)
    num_held_out = math.ceil(val_size * len(first)) if val_size < 1 else int(val_size)
    if num_held_out >= len(first):
        raise UsageError(f"val_size {val_size:g} holds out all of the {len(first)} rows; lower it")
    order = np.sort(first)
    chosen = order[np.random.default_rng([seed, 1]).permutation(len(order))[:num_held_out]]
    is_chosen = np.zeros(len(identities), dtype=bool)
    is_chosen[chosen] = True
    return _choose(datasets, ~is_chosen[first[which]]), _choose(datasets, is_chosen)


def _identify(datasets: Sequence[Dataset]) -> np.ndarray:
    """(rows of all datasets,) int64, equal where the same row of the same files stands twice."""
    numbers = [np.asarray(dataset.numbers, dtype=np.int64) for dataset in datasets]
    places = [os.path.realpath(dataset.place) for dataset in datasets]  # one file may be named in two ways
    bases: dict[str, int] = {}
    total = 0
    for place, used in zip(places, numbers, strict=True):
        bases.setdefault(place, total)
        total = max(total, bases[place]) + int(used.max(initial=-1)) + 1
    return np.concatenate([bases[place] + used for place, used in zip(places, numbers, strict=True)])


def _choose(datasets: Sequence[Dataset], is_chosen: np.ndarray) -> ChosenRows:
    ends = list(accumulate(dataset.num_rows for dataset in datasets))
    parts = np.split(is_chosen, ends[:-1])
    return ChosenRows(tuple(datasets), tuple(_numbers_of(part) for part in parts))


def _numbers_of(is_chosen: np.ndarray) -> np.ndarray:
    chosen = np.flatnonzero(is_chosen)
    return chosen.astype(number_type(len(is_chosen)))
