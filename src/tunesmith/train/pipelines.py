"""The pipelines of a run: endless shuffled epochs to train on, and one pass over the rows that are held out.

Each process makes its share of the batches; what only one of them finds out is handed on to be told to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import torch

from tunesmith.config.settings import Settings
from tunesmith.data.batches.ballast import Ballast, build_ballast
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.grouping import GroupExamples, build_grouper
from tunesmith.data.feed.lost import LostSample, LostSamples
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.pipeline import MicroBatch, Pipeline
from tunesmith.data.feed.share import Share
from tunesmith.data.prepare import PreparedData
from tunesmith.data.reference_values import StoredValues
from tunesmith.errors import TunesmithError
from tunesmith.models.packing.proof import Packing
from tunesmith.train.account import RowAccount
from tunesmith.train.parallel.parallel import Parallel


@dataclass(frozen=True, slots=True)
class FinishBatch:
    """The last touch on a batch before its step: the inputs its packed samples need, the log-probabilities its answers
    are compared with where they are known, and page-locked memory. A filler is compared with nothing: its loss is
    multiplied by zero.
    """

    packing: Packing | None
    pin_memory: bool
    values: StoredValues | None = None

    def __call__(self, batch: Batch) -> Batch:
        """The finished batch."""
        finished = batch if self.packing is None else batch.completed(self.packing)
        if self.values is not None:
            finished = finished.with_no_reference() if batch.is_filler else self.values.give(finished)
        return finished.pin_memory() if self.pin_memory else finished


def build_training_pipeline(
    data: PreparedData,
    settings: Settings,
    *,
    packing: Packing | None,
    device: torch.device,
    values: StoredValues | None = None,
    share: Share | None = None,
) -> Pipeline:
    """Micro-batches to train on, without padding where the model takes them so (`packing`).

    values: log-probabilities by a reference that were computed before
    share:  which of them are this process's; None: all
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
        share=share or Share(),
        ballast=_ballast(data, share),
    )


def build_held_out_pipeline(
    data: PreparedData,
    held_out: Order,
    settings: Settings,
    *,
    packing: Packing | None,
    device: torch.device,
    values: StoredValues | None = None,
    share: Share | None = None,
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
        share=share or Share(),
        ballast=_ballast(data, share),
    )


def held_out_batches(
    pipeline: Pipeline, account: RowAccount | None = None, *, parallel: Parallel | None = None
) -> Iterator[Batch]:
    """One pass over a pipeline's rows; what became of them goes into `account`, where given.

    parallel: with several processes, each of which goes through its share; behind the last batch they tell each other
              what they lost

    Raises DataError, naming file and row, for a row that cannot be used where on_bad_row is stop; with several
    processes all raise it, behind the last batch of each.
    """
    found = _HeldOut(pipeline, account)
    yield from found.batches()
    told = [found.told] if parallel is None else parallel.gather(found.told)
    problem = next((one.problem for one in told if one.problem is not None), None)
    if problem is not None:
        raise problem
    found.settle([sample for one in told for sample in one.lost])


@dataclass(frozen=True, slots=True)
class _Told:
    """What one process found out in a pass over held-out rows."""

    lost: tuple[LostSample, ...]
    problem: TunesmithError | None


@dataclass(slots=True)
class _HeldOut:
    """One pass. Rows whose media another process may find broken wait for its end, the others are taken in at once."""

    pipeline: Pipeline
    account: RowAccount | None
    _waiting: list[Outcome] = field(default_factory=list, init=False)
    _lost: list[LostSample] = field(default_factory=list, init=False)
    _problem: TunesmithError | None = field(default=None, init=False)

    def batches(self) -> Iterator[Batch]:
        """This process's batches, in lockstep to the end whatever happens to one."""
        with closing(self.pipeline.micro_batches(last_epoch=0)) as micro_batches:
            while (micro_batch := self._next(micro_batches)) is not None:
                self._take_in(micro_batch)
                if micro_batch.batch is not None:
                    yield micro_batch.batch

    @property
    def told(self) -> _Told:
        """What the others must know, behind the pass."""
        return _Told(tuple(self._lost), self._problem)

    def settle(self, lost: Iterable[LostSample]) -> None:
        """Take in the rows that waited; `lost`: by all processes."""
        settled = LostSamples().settle(self._waiting, lost, ends_epoch=True)
        if self.account is not None:
            self.account.take_in_held_out(settled)

    def _next(self, micro_batches: Iterator[MicroBatch]) -> MicroBatch | None:
        try:
            return next(micro_batches, None)
        except TunesmithError as error:
            self._problem = error
            return None

    def _take_in(self, micro_batch: MicroBatch) -> None:
        self._lost += micro_batch.lost
        self._problem = self._problem or micro_batch.problem
        if self.account is None:
            return
        for outcome in micro_batch.outcomes:
            if outcome.encoded is not None and outcome.encoded.media:
                self._waiting.append(outcome)
            else:
                self.account.take_in_held_out([outcome])


def share_of(parallel: Parallel) -> Share:
    """This process's share of micro-batches that are numbered to the end, as its engine needs it."""
    return Share(parallel.rank, parallel.num_processes, lockstep=parallel.lockstep, same_media=parallel.same_media)


def _ballast(data: PreparedData, share: Share | None) -> Ballast | None:
    return build_ballast(data.encoder, data.media_inputs) if share is not None and share.lockstep else None


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
