"""Orders over datasets that are read from their beginning: nobody has counted their rows.

    dataset.blocks → blocks of buffer_size rows, each permuted → datasets mixed, row by row

Everything follows from seed, epoch and place; going on from a place reads one block of each dataset again. Knows
nothing of encoding, batches or workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from tunesmith.data.feed.mixing import Mix
from tunesmith.data.feed.order import Chunk, window_random
from tunesmith.data.feed.position import FeedPosition, SourcePlace, StreamPlace
from tunesmith.data.rows.dataset import Dataset
from tunesmith.data.store.address import Block, Cursor, RowRef
from tunesmith.errors import DataError, UsageError

_DRAWS_AT_ONCE = 1024
_MOST_ROWS_READ_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """Every epoch begins the files again. concat draws datasets in proportion to their bytes, where those are known.

    buffer_size: rows of a dataset that are shuffled among each other
    held_out:    rows at the beginning of each dataset that are never given; () for none
    """

    datasets: tuple[Dataset, ...]
    seed: int = 0
    shuffle: bool = True
    mix: Mix = field(default_factory=Mix)
    buffer_size: int = 16384
    held_out: tuple[int, ...] = ()

    def num_rows(self, epoch: int) -> int | None:  # noqa: ARG002
        """None: nobody has counted them."""
        return None

    def chunks(self, position: FeedPosition, *, size: int) -> Iterator[Chunk]:
        """See Order. Raises DataError where a file is broken, when that place is reached."""
        rows = _Mixture(self, position.epoch, position.stream)
        while rows.row < position.row:
            rows.draw()
        while True:
            place = rows.place()
            refs = tuple(islice(iter(rows.draw, None), size))
            if not refs:
                return
            yield Chunk(place.row, refs, place)

    def random(self, position: FeedPosition) -> np.random.Generator | None:
        """See Order."""
        return window_random(self.seed, position) if self.shuffle else None


def hold_out_first(datasets: Sequence[Dataset], *, num_rows: int) -> tuple[tuple[RowRef, ...], ...]:
    """Of each dataset the rows held out: its first, `num_rows` in all, as evenly from all datasets as can be.

    Raises UsageError for a dataset that has not so many, and one more to train on.
    """
    shares = [num_rows // len(datasets) + (number < num_rows % len(datasets)) for number in range(len(datasets))]
    held_out: list[tuple[RowRef, ...]] = []
    for dataset, share in zip(datasets, shares, strict=True):
        blocks = dataset.blocks(rows_per_block=share + 1)
        first = tuple(islice((ref for block in blocks for ref in block.refs), share + 1))
        if len(first) <= share:
            raise UsageError(f"val_size {num_rows} holds out all of the {len(first)} rows of {dataset.name}; lower it")
        held_out.append(first[:share])
    return tuple(held_out)


class _Mixture:
    """The rows of an epoch from a place on, drawn one by one."""

    def __init__(self, order: StreamOrder, epoch: int, place: StreamPlace | None) -> None:
        self._order = order
        self._epoch = epoch
        place = place or StreamPlace(0, 0, (SourcePlace(),) * len(order.datasets))
        self._shares = _shares_of(order)
        self._row, self._turn = place.row, place.turn
        self._sources = [_Source(order, number, epoch, source) for number, source in enumerate(place.sources)]
        self._draws: tuple[int, np.ndarray] = (-1, np.empty(0))

    def place(self) -> StreamPlace:
        """The place before the next row."""
        return StreamPlace(self._row, self._turn, tuple(source.place for source in self._sources))

    @property
    def row(self) -> int:
        """Rows drawn since the epoch began."""
        return self._row

    def draw(self) -> RowRef | None:
        """The next row, None at the end of the epoch."""
        open_sources = [number for number, source in enumerate(self._sources) if not source.is_over()]
        if self._is_over(open_sources):
            return None
        strategy = self._order.mix.strategy
        candidates = range(len(self._sources)) if strategy == "interleave_over" else open_sources
        number = self._choose(candidates)
        source = self._sources[number]
        if source.is_over():
            source.begin_again()
        self._row, self._turn = self._row + 1, (number + 1) % len(self._sources)
        return source.draw()

    def _is_over(self, open_sources: Sequence[int]) -> bool:
        if self._order.mix.strategy == "interleave_under":
            return len(open_sources) < len(self._sources)
        if self._order.mix.strategy == "interleave_over":
            return not any(not self._sources[number].place.ended for number in open_sources)
        return not open_sources

    def _choose(self, candidates: Sequence[int]) -> int:
        """Drawn by the shares of the candidates, or the next in turn."""
        if len(candidates) == 1:
            return candidates[0]
        if self._shares is None:
            return min(candidates, key=lambda number: (number - self._turn) % len(self._sources))
        bounds = np.cumsum([self._shares[number] for number in candidates])
        return candidates[min(int(np.searchsorted(bounds, self._chance() * bounds[-1], side="right")), len(bounds) - 1)]

    def _chance(self) -> float:
        """A number from 0 to 1 that belongs to the next row, wherever reading began."""
        part, number = divmod(self._row, _DRAWS_AT_ONCE)
        if self._draws[0] != part:
            random = np.random.default_rng([self._order.seed, self._epoch, part, 3])
            self._draws = (part, random.random(_DRAWS_AT_ONCE))
        return float(self._draws[1][number])


def _shares_of(order: StreamOrder) -> tuple[float, ...] | None:
    if order.mix.strategy != "concat":
        return order.mix.shares
    sizes = [dataset.num_bytes for dataset in order.datasets]
    return tuple(size for size in sizes if size) if all(sizes) else None


class _Source:
    """The rows of one dataset from a place on, shuffled block by block."""

    def __init__(self, order: StreamOrder, number: int, epoch: int, place: SourcePlace) -> None:
        self.place = place
        self._order = order
        self._number = number
        self._epoch = epoch
        self._skipped = order.held_out[number] if order.held_out else 0
        self._refs: Sequence[RowRef] | None = None
        self._end = place.cursor
        self._blocks = self._read(place.cursor)

    def is_over(self) -> bool:
        """Whether the dataset has come to its end."""
        while self._refs is None or self.place.drawn >= len(self._refs):
            if self._refs is not None:
                self.place = replace(self.place, cursor=self._end, block=self.place.block + 1, drawn=0)
            block = self._next_block()
            if block is None:
                self._refs = None
                return True
            self._refs, self._end = self._permute(block), block.end
        return False

    def draw(self) -> RowRef:
        """The next row; only where the dataset is not over."""
        assert self._refs is not None
        ref = self._refs[self.place.drawn]
        self.place = replace(self.place, drawn=self.place.drawn + 1)
        return ref

    def begin_again(self) -> None:
        """Go back to the first row. Raises DataError for a dataset without one."""
        self.place = SourcePlace(Cursor(), self.place.block, 0, ended=True)
        self._blocks = self._read(self.place.cursor)
        if self.is_over():
            name = self._order.datasets[self._number].name
            raise DataError(f"dataset {name} has no row to train on; leave it out, or lower val_size")

    def _read(self, cursor: Cursor) -> Iterator[Block]:
        rows_per_block = min(self._order.buffer_size, _MOST_ROWS_READ_AT_ONCE)
        return self._order.datasets[self._number].blocks(cursor, rows_per_block=rows_per_block)

    def _next_block(self) -> Block | None:
        """Blocks of the dataset put together until they hold buffer_size rows."""
        refs: list[RowRef] = []
        start = end = self.place.cursor
        for block in self._blocks:
            refs += block.refs[max(self._skipped - block.start.num_done, 0) :]
            end = block.end
            if len(refs) >= self._order.buffer_size:
                break
        return Block(refs, start, end) if refs else None

    def _permute(self, block: Block) -> Sequence[RowRef]:
        if not self._order.shuffle:
            return block.refs
        entropy = [self._order.seed, self._epoch, self._number, self.place.block, 4]
        return [block.refs[index] for index in np.random.default_rng(entropy).permutation(len(block.refs))]
