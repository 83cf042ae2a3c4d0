"""Which examples make a micro-batch together: pure functions of their lengths, a window of rows at a time.

A window is a function of its first row alone: it ends where its grouper says so, and nothing is carried over into the
next. So a feed can go on from any window. No example is split, lost or taken twice. Knows no rows and no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tunesmith.config.settings import Settings
from tunesmith.data.feed.packing import pack_best_fit

Group = tuple[int, ...]
"""The examples of one micro-batch, by their numbers in the window."""

_LEAST_ROWS, _MOST_ROWS, _FIRST_ROWS = 1024, 8192, 256
"""Rows of a window that examples are packed in; the first of a run is small, so that its first step comes soon."""
_LEAST_FILLED = 64
"""Packs' worth of tokens (or micro-batches) of a window: fewer would leave too few examples to choose from."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """What a window holds so far. `is_first`: whether it is the very first of a run."""

    rows: int
    examples: int
    tokens: int
    is_first: bool


class Grouper(Protocol):
    """A rule for windows, and one for the micro-batches of a window."""

    def is_complete(self, window: WindowSize) -> bool:
        """Whether the window ends after the rows it has."""

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """The micro-batches of examples of these lengths, each example in exactly one; `random` shuffles, if given."""


@dataclass(frozen=True, slots=True)
class GroupExamples:
    """`size` examples a micro-batch, in their order: every window is one micro-batch."""

    size: int

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper."""
        return window.examples == self.size

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:  # noqa: ARG002
        """See Grouper."""
        return _cut(range(len(lengths)), self.size)


@dataclass(frozen=True, slots=True)
class GroupByLength:
    """`size` examples of similar length a micro-batch; windows of 64 micro-batches."""

    size: int

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper. Every window but an epoch's last holds whole micro-batches."""
        most = max(_FIRST_ROWS // self.size, 1) if window.is_first else _LEAST_FILLED
        return window.examples == self.size * min(most, _LEAST_FILLED)

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """See Grouper."""
        return _shuffled(_cut(_by_length(lengths), self.size), random)


@dataclass(frozen=True, slots=True)
class GroupByTokens:
    """As many examples as `budget` tokens hold, at least one; `by_length` puts similar lengths together.

    padded: whether the examples of a micro-batch are padded to its longest, which counts too then
    """

    budget: int
    by_length: bool = False
    padded: bool = False

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper."""
        return _holds_enough(window, capacity=self.budget, least_rows=0)

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """See Grouper."""
        if not self.by_length:
            return self._fill(range(len(lengths)), lengths)
        return _shuffled(self._fill(_by_length(lengths), lengths), random)

    def _fill(self, order: Iterable[int], lengths: Sequence[int]) -> list[Group]:
        groups: list[list[int]] = []
        longest = tokens = 0
        for index in order:
            longest, tokens = max(longest, lengths[index]), tokens + lengths[index]
            cost = longest * (len(groups[-1]) + 1) if self.padded and groups else tokens
            if not groups or cost > self.budget:
                groups.append([])
                longest = tokens = lengths[index]
            groups[-1].append(index)
        return [tuple(group) for group in groups]


@dataclass(frozen=True, slots=True)
class GroupPacks:
    """`size` packs a micro-batch, each of whole examples that together have at most `capacity` tokens."""

    capacity: int
    size: int

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper."""
        return _holds_enough(window, capacity=self.capacity, least_rows=_LEAST_ROWS)

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """See Grouper."""
        packs = _shuffled([tuple(pack) for pack in pack_best_fit(lengths, capacity=self.capacity)], random)
        return [
            tuple(index for number in numbers for index in packs[number])
            for numbers in _cut(range(len(packs)), self.size)
        ]


def build_grouper(settings: Settings, *, packed: bool) -> Grouper:
    """The grouper that the settings ask for. `packed`: whether the model keeps samples of one sequence apart; without
    it examples are padded, and packing is left out.
    """
    data, size = settings.data, settings.training.per_device_train_batch_size
    if (data.packing or data.neat_packing) and packed:
        return GroupPacks(data.cutoff_len, size)
    if data.batch_tokens is not None:
        return GroupByTokens(data.batch_tokens, by_length=data.group_by_length, padded=not packed)
    return GroupByLength(size) if data.group_by_length else GroupExamples(size)


def count_micro_batches(lengths: Iterable[int], grouper: Grouper, *, is_first_epoch: bool) -> int:
    """How many micro-batches an epoch has whose rows, in its order, have these lengths; 0 stands for a row left out.

    `is_first_epoch`: whether it is the first of the run, whose first window is a small one.
    """
    count = rows = 0
    window: list[int] = []
    tokens, is_first = 0, is_first_epoch
    for length in lengths:
        rows, tokens = rows + 1, tokens + length
        if length:
            window.append(length)
        if grouper.is_complete(WindowSize(rows, len(window), tokens, is_first)):
            count += len(grouper.group(window, random=None))
            window, rows, tokens, is_first = [], 0, 0, False
    return count + len(grouper.group(window, random=None))


def _holds_enough(window: WindowSize, *, capacity: int, least_rows: int) -> bool:
    if window.rows >= _MOST_ROWS or (window.is_first and window.rows >= _FIRST_ROWS):
        return True
    return window.rows >= least_rows and window.tokens >= _LEAST_FILLED * capacity


def _by_length(lengths: Sequence[int]) -> list[int]:
    """The longest first; equal ones in their order."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def _cut(order: Sequence[int], size: int) -> list[Group]:
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def _shuffled(groups: list[Group], random: np.random.Generator | None) -> list[Group]:
    """In random order, or in that of their first examples; each group keeps the order of its examples."""
    ordered = sorted(tuple(sorted(group)) for group in groups)
    return ordered if random is None else [ordered[number] for number in random.permutation(len(ordered))]
