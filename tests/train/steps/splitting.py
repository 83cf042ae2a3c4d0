"""Batches of rows that can be halved as a pipeline halves its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.data.batches.batch import Batch
from tunesmith.train.steps.portions import Split


class Halves:
    """`make` builds batches of rows; `split` halves what `make` has built."""

    def __init__(self, build: Callable[[Sequence[object]], Batch]) -> None:
        self._build = build
        self._rows: dict[int, Sequence[object]] = {}
        self._kept: list[Batch] = []

    def make(self, rows: Sequence[object]) -> Batch:
        """A batch of these rows."""
        batch = self._build(rows)
        self._kept.append(batch)
        self._rows[id(batch)] = rows
        return batch

    @property
    def split(self) -> Split:
        """Two batches with the rows of one."""
        return self._split

    def _split(self, batch: Batch) -> tuple[Batch, Batch] | None:
        rows = self._rows[id(batch)]
        middle = len(rows) // 2
        return (self.make(rows[:middle]), self.make(rows[middle:])) if middle else None
