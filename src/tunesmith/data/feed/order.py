"""Which rows come when: an epoch's order as a function of seed and epoch alone.

Knows nothing of encoding, batches or workers. Touches no global random state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from tunesmith.data.feed.chosen_rows import ChosenRows
from tunesmith.data.feed.mixing import Mix, interleave, mix_turns, number_type
from tunesmith.data.feed.position import FeedPosition, StreamPlace
from tunesmith.data.store.address import RowRef

_ROWS_TOGETHER = 512
"""Row groups whose rows are shuffled among each other hold about so many: what is decoded stays in memory then."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow one another in an epoch: the first is number `row` of it. `stream`: see FeedPosition."""

    row: int
    refs: tuple[RowRef, ...]
    stream: StreamPlace | None = None


class Order(Protocol):
    """The rows of every epoch, in order."""

    def num_rows(self, epoch: int) -> int | None:
        """Rows of that epoch; None where nobody has counted them."""

    def chunks(self, position: FeedPosition, *, size: int) -> Iterator[Chunk]:
        """The rest of the epoch `position.epoch` from `position.row` on, `size` rows at a time."""

    def random(self, position: FeedPosition) -> np.random.Generator | None:
        """What shuffles the micro-batches of the window that begins at `position`; None where rows keep their order."""


@dataclass(frozen=True, slots=True)
class EpochOrder:
    """Orders over rows that are numbered. Without `shuffle` each dataset keeps the order of its files."""

    rows: ChosenRows
    seed: int = 0
    shuffle: bool = True
    mix: Mix = field(default_factory=Mix)

    def num_rows(self, epoch: int) -> int:
        """Rows of `epoch`; epochs differ where datasets are drawn by chance."""
        return len(self.rows) if self.mix.strategy == "concat" else len(self._turns(epoch))

    def numbers(self, epoch: int) -> np.ndarray:
        """(n,) uint32 or uint64: the rows of `epoch`, by their numbers in `rows`."""
        if self.mix.strategy == "concat":
            return self._permute_all(epoch)
        return interleave(self.rows.sizes, self._turns(epoch), partial(self._permute, epoch))

    def chunks(self, position: FeedPosition, *, size: int) -> Iterator[Chunk]:
        """See Order."""
        numbers = self.numbers(position.epoch)
        for start in range(position.row, len(numbers), size):
            yield Chunk(start, self.rows.refs(numbers[start : start + size]))

    def random(self, position: FeedPosition) -> np.random.Generator | None:
        """See Order."""
        return window_random(self.seed, position) if self.shuffle else None

    def _turns(self, epoch: int) -> np.ndarray:
        return mix_turns(self.rows.sizes, self.mix, random=np.random.default_rng([self.seed, epoch, 0]))

    def _permute_all(self, epoch: int) -> np.ndarray:
        """All rows of all datasets in one permutation; where a dataset has blocks, each keeps an order of its own."""
        sizes = self.rows.sizes
        if not self.shuffle:
            return np.arange(len(self.rows), dtype=number_type(len(self.rows)))
        if not any(self.rows.has_blocks(dataset) for dataset in range(len(sizes))):
            numbers = np.arange(len(self.rows), dtype=number_type(len(self.rows)))
            return np.random.default_rng([self.seed, epoch]).permutation(numbers)
        turns = np.repeat(np.arange(len(sizes), dtype=np.uint16), sizes)
        if len(sizes) > 1:
            turns = np.random.default_rng([self.seed, epoch, 0]).permutation(turns)
        return interleave(sizes, turns, partial(self._permute, epoch))

    def _permute(self, epoch: int, dataset: int, pass_number: int) -> np.ndarray:
        size = self.rows.sizes[dataset]
        numbers = np.arange(size, dtype=number_type(size))
        if not self.shuffle:
            return numbers
        random = np.random.default_rng([self.seed, epoch, 1 + dataset, pass_number])
        blocks = self.rows.blocks(dataset)
        return random.permutation(numbers) if blocks is None else shuffle_blocks(blocks, random=random)


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """The same rows in the same order every epoch: the held-out rows of a stream."""

    refs: tuple[RowRef, ...]

    def num_rows(self, epoch: int) -> int:  # noqa: ARG002
        """All of them, whatever the epoch."""
        return len(self.refs)

    def chunks(self, position: FeedPosition, *, size: int) -> Iterator[Chunk]:
        """See Order."""
        for start in range(position.row, len(self.refs), size):
            yield Chunk(start, self.refs[start : start + size])

    def random(self, position: FeedPosition) -> np.random.Generator | None:  # noqa: ARG002
        """None: rows keep their order."""
        return None


def shuffle_blocks(blocks: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """(n,) a permutation of rows that stays inside a few blocks at a time.

    `blocks` (n,) is the block of each row, from 0. Blocks come in random order, as many together as hold about
    _ROWS_TOGETHER rows, and rows are shuffled inside such a group: read in this order, every block is decoded once.
    """
    num_blocks = int(blocks.max(initial=0)) + 1
    together = max(_ROWS_TOGETHER * num_blocks // max(len(blocks), 1), 1)
    # numpy sorts 16-bit numbers by radix, five times as fast
    group = np.empty(num_blocks, dtype=np.uint16 if num_blocks // together < 2**16 else np.uint32)
    group[random.permutation(num_blocks)] = np.arange(num_blocks) // together
    groups = group[blocks]
    numbers = np.argsort(groups, kind="stable").astype(number_type(len(blocks)))
    for part in np.split(numbers, np.cumsum(np.bincount(groups))[:-1]):
        random.shuffle(part)
    return numbers


def window_random(seed: int, position: FeedPosition) -> np.random.Generator:
    """A generator for the window that begins at `position`."""
    return np.random.default_rng([seed, position.epoch, position.row, 2])
