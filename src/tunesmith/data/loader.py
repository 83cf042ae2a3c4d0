"""In which order examples come, and batches made a few steps ahead in worker processes.

The order is a function of seed and epoch alone, a batch a function of its examples alone: so a loader may start at any
micro-batch, and the number of workers changes nothing but the speed. Touches no global random state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tunesmith import env
from tunesmith.data.collate import Batch, Collator
from tunesmith.data.encoded import Encoded
from tunesmith.errors import DataError


def epoch_order(num_examples: int, seed: int, epoch: int, shuffle: bool) -> list[int]:
    """The order of 0 … num_examples - 1 in `epoch` (from 0): a permutation drawn from (seed, epoch), or as they are."""
    if not shuffle:
        return list(range(num_examples))
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(num_examples).tolist()
    return order


def build_loader(
    examples: Sequence[Encoded],
    collator: Collator,
    order: Sequence[int],
    *,
    batch_size: int,
    first_batch: int = 0,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    pin_memory: bool = False,
) -> BatchLoader:
    """The micro-batches of one pass over `order`, the last one maybe smaller.

    `first_batch` skips as many batches without making them: what a resumed run has seen already.
    """
    starts = range(first_batch * batch_size, len(order), batch_size)
    return BatchLoader(
        examples=examples,
        collator=collator,
        batches=[list(order[start : start + batch_size]) for start in starts],
        num_workers=num_workers,
        prefetch_factor=prefetch_factor,
        pin_memory=pin_memory,
    )


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Iterable over the batches of examples at `batches`, each a list of indices. Iterating again starts again."""

    examples: Sequence[Encoded]
    collator: Collator
    batches: list[list[int]]
    num_workers: int
    prefetch_factor: int | None
    pin_memory: bool

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """Raises DataError, naming file and row, for a batch that cannot be made."""
        if self.num_workers:
            env.keep_tokenizers_single_threaded()
        for made in self._torch_loader():
            if isinstance(made, _Failure):
                raise DataError(made.message)
            yield made

    def _torch_loader(self) -> DataLoader[Encoded]:
        workers = min(self.num_workers, len(self.batches), _num_cores())
        return DataLoader(
            _Examples(self.examples),
            batch_sampler=self.batches,
            collate_fn=_CollateOrReport(self.collator),
            num_workers=workers,
            prefetch_factor=self.prefetch_factor if workers else None,
            pin_memory=self.pin_memory,
            # without one of its own, a DataLoader draws its workers' seed from the global random state
            generator=torch.Generator().manual_seed(0),
        )


def _num_cores() -> int:
    """Cores this process may run on; more workers than that only wait for each other (torch warns of it)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Examples(Dataset[Encoded]):
    """A sequence as the DataLoader wants it."""

    def __init__(self, examples: Sequence[Encoded]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Encoded:
        return self._examples[index]


@dataclass(frozen=True, slots=True)
class _Failure:
    """A data error on its way out of a worker, which would otherwise arrive wrapped in the worker's traceback."""

    message: str

    def pin_memory(self) -> _Failure:
        return self


@dataclass(frozen=True, slots=True)
class _CollateOrReport:
    collator: Collator

    def __call__(self, examples: list[Encoded]) -> Batch | _Failure:
        try:
            return self.collator(examples)
        except DataError as error:
            return _Failure(str(error))
