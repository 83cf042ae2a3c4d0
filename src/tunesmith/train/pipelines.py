"""The pipelines of a run: endless shuffled epochs to train on, and one pass over the rows that are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch

from tunesmith.config.settings import Settings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.feed.grouping import GroupExamples, build_grouper
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.pipeline import Pipeline
from tunesmith.data.prepare import PreparedData
from tunesmith.data.reference_values import StoredValues
from tunesmith.models.packing.proof import Packing
from tunesmith.train.account import RowAccount


@dataclass(frozen=True, slots=True)
class FinishBatch:
    """The last touch on a batch before its step: the inputs its packed samples need, the log-probabilities its answers
    are compared with where they are known, and page-locked memory.
    """

    packing: Packing | None
    pin_memory: bool
    values: StoredValues | None = None

    def __call__(self, batch: Batch) -> Batch:
        """The finished batch."""
        finished = batch if self.packing is None else batch.completed(self.packing)
        finished = finished if self.values is None else self.values.give(finished)
        return finished.pin_memory() if self.pin_memory else finished


def build_training_pipeline(
    data: PreparedData,
    settings: Settings,
    *,
    packing: Packing | None,
    device: torch.device,
    values: StoredValues | None = None,
) -> Pipeline:
    """Micro-batches to train on, without padding where the model takes them so (`packing`).

    values: log-probabilities by a reference that were computed before
    """
    return Pipeline(
        data.examples,
        data.train,
        build_grouper(settings, packed=_lengths_fit(settings, packing)),
        _collator(data, packing),
        num_workers=settings.training.dataloader_num_workers,
        ahead=_ahead(settings),
        on_bad_row=settings.data.on_bad_row,
        finish=_finish(settings, packing, device, values),
    )


def build_held_out_pipeline(
    data: PreparedData,
    held_out: Order,
    settings: Settings,
    *,
    packing: Packing | None,
    device: torch.device,
    values: StoredValues | None = None,
) -> Pipeline:
    """Batches of per_device_eval_batch_size held-out rows, in their order. `values`: see build_training_pipeline."""
    return Pipeline(
        data.examples,
        held_out,
        GroupExamples(settings.training.per_device_eval_batch_size),
        _collator(data, packing),
        num_workers=settings.training.dataloader_num_workers,
        ahead=_ahead(settings),
        on_bad_row=settings.data.on_bad_row,
        finish=_finish(settings, packing, device, values),
    )


def held_out_batches(pipeline: Pipeline, account: RowAccount | None = None) -> Iterator[Batch]:
    """One pass over a pipeline's rows; what became of them goes into `account`, where given.

    Raises DataError, naming file and row, for a row that cannot be used where on_bad_row is stop.
    """
    with closing(pipeline.micro_batches(last_epoch=0)) as micro_batches:
        for micro_batch in micro_batches:
            if account is not None:
                account.take_in_held_out(micro_batch.outcomes)
            if micro_batch.batch is not None:
                yield micro_batch.batch


def _collator(data: PreparedData, packing: Packing | None) -> Collator:
    return data.collator(packed=packing is not None, shared=packing is not None and packing.shares)


def _lengths_fit(settings: Settings, packing: Packing | None) -> bool:
    """Whether a batch has as many tokens as its examples: without padding, and without beginnings that stand twice."""
    return packing is not None and (packing.shares or settings.training.rows != "pairs")


def _ahead(settings: Settings) -> int | None:
    """dataloader_prefetch_factor counts batches a worker, as PyTorch's does."""
    factor = settings.training.dataloader_prefetch_factor
    return None if factor is None else factor * max(settings.training.dataloader_num_workers, 1)


def _finish(
    settings: Settings, packing: Packing | None, device: torch.device, values: StoredValues | None
) -> Callable[[Batch], Batch]:
    return FinishBatch(packing, device.type == "cuda" and settings.training.dataloader_pin_memory, values)
