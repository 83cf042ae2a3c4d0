"""Which samples make a micro-batch together: pure functions of their lengths, a window of rows at a time.

A row gives one sample, a document as many as it has pieces. A window is a function of its first row alone: it ends
where its grouper says so, and nothing is carried over into the next. So a feed can go on from any window. No sample is
split, lost or taken twice. Knows no rows and no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tunesmith.config.settings import Settings
from tunesmith.data.feed.packing import pack_best_fit

Group = tuple[int, ...]
"""The samples of one micro-batch, by their numbers in the window."""

_LEAST_ROWS, _MOST_ROWS, _FIRST_ROWS = 1024, 8192, 256
"""Rows (or samples) of a window that are packed together; the first of a run is small, so that its first step comes
soon."""
_LEAST_FILLED = 64
"""Packs' worth of tokens (or micro-batches) of a window: fewer would leave too few samples to choose from."""
_MOST_OVER = 16
"""Micro-batches that a window may have beyond what it needs, so as to end where all are full."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """What a window holds so far. `is_first`: whether it is the very first of a run."""

    rows: int
    samples: int
    tokens: int
    is_first: bool

    def is_full(self, num_samples: int, *, size: int) -> bool:
        """Whether it has `num_samples`, a multiple of `size`, and ends with a whole micro-batch.

        One row of many samples may end in the middle of one; the next rows may fill it, but not for ever.
        """
        is_whole = self.samples % size == 0 or self.samples >= num_samples + _MOST_OVER * size
        return self.samples >= num_samples and is_whole


class Grouper(Protocol):
    """A rule for windows, and one for the micro-batches of a window."""

    def is_complete(self, window: WindowSize) -> bool:
        """Whether the window ends after the rows it has."""

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """The micro-batches of samples of these lengths, each sample in exactly one; `random` shuffles, if given."""


@dataclass(frozen=True, slots=True)
class GroupExamples:
    """`size` samples a micro-batch, in their order: a window is one micro-batch, unless a row gives several samples."""

    size: int

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper."""
        return window.is_full(self.size, size=self.size)

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:  # noqa: ARG002
        """See Grouper."""
        return _cut(range(len(lengths)), self.size)


@dataclass(frozen=True, slots=True)
class GroupByLength:
    """`size` samples of similar length a micro-batch; windows of 64 micro-batches."""

    size: int

    def is_complete(self, window: WindowSize) -> bool:
        """See Grouper. Every window but an epoch's last holds whole micro-batches, where a row is one sample."""
        most = max(_FIRST_ROWS // self.size, 1) if window.is_first else _LEAST_FILLED
        return window.is_full(self.size * min(most, _LEAST_FILLED), size=self.size)

    def group(self, lengths: Sequence[int], *, random: np.random.Generator | None) -> list[Group]:
        """See Grouper."""
        return _shuffled(_cut(_by_length(lengths), self.size), random)


@dataclass(frozen=True, slots=True)
class GroupByTokens:
    """As many samples as `budget` tokens hold, at least one; `by_length` puts similar lengths together.

    padded: whether the samples of a micro-batch are padded to its longest, which counts too then
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
    """`size` packs a micro-batch, each of whole samples that together have at most `capacity` tokens."""

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
    it samples are padded, and packing is left out.
    """
    data, size = settings.data, settings.training.per_device_train_batch_size
    if settings.packs and packed:
        return GroupPacks(data.cutoff_len, size)
    if data.batch_tokens is not None:
        return GroupByTokens(data.batch_tokens, by_length=data.group_by_length, padded=not packed)
    return GroupByLength(size) if data.group_by_length else GroupExamples(size)


def count_micro_batches(rows: Iterable[Sequence[int]], grouper: Grouper, *, is_first_epoch: bool) -> int:
    """How many micro-batches an epoch has whose `rows`, in its order, give samples of these lengths; () is a row left
    out.

    `is_first_epoch`: whether it is the first of the run, whose first window is a small one.
    """
    count = num_rows = tokens = 0
    window: list[int] = []
    is_first = is_first_epoch
    for lengths in rows:
        num_rows, tokens = num_rows + 1, tokens + sum(lengths)
        window += lengths
        if grouper.is_complete(WindowSize(num_rows, len(window), tokens, is_first)):
            count += len(grouper.group(window, random=None))
            window, num_rows, tokens, is_first = [], 0, 0, False
    return count + len(grouper.group(window, random=None))


def _holds_enough(window: WindowSize, *, capacity: int, least_rows: int) -> bool:
    num = max(window.rows, window.samples)
    if num >= _MOST_ROWS or (window.is_first and num >= _FIRST_ROWS):
        return True
    return num >= least_rows and window.tokens >= _LEAST_FILLED * capacity


def _by_length(lengths: Sequence[int]) -> list[int]:
    """The longest first; equal ones in their order."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def _cut(order: Sequence[int], size: int) -> list[Group]:
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]


def _shuffled(groups: list[Group], random: np.random.Generator | None) -> list[Group]:
    """In random order, or in that of their first samples; each group keeps the order of its samples."""
    ordered = sorted(tuple(sorted(group)) for group in groups)
    return ordered if random is None else [ordered[number] for number in random.permutation(len(ordered))]
