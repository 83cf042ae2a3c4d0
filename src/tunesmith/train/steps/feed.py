"""The micro-batches of every step, from any place on, without making those before it.

Order is a function of seed and epoch, a batch one of its rows: a resumed run is fed what the run never stopped was.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from tunesmith.data.batches.batch import Batch
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.pipeline import MicroBatch, Pipeline
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.plan import StepPlan


@dataclass(frozen=True, slots=True)
class FedStep:
    """What one step takes: its micro-batches, what became of every row used up for them, and the place behind it."""

    batches: tuple[Batch, ...]
    outcomes: tuple[Outcome, ...]
    after: Place

    @property
    def num_positions(self) -> int:
        """Tokens of the batches, padding included."""
        return sum(batch.labels.numel() for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Feed:
    """The pipeline's micro-batches cut into the plan's steps."""

    pipeline: Pipeline
    plan: StepPlan

    def steps(self, place: Place) -> Generator[FedStep]:
        """The step at `place` and every later one of the plan. Close the iterator: it holds threads and processes.

        Raises DataError, naming file and row, for a row that cannot be used where on_bad_row is stop.
        """
        if self.plan.is_last(place):
            return
        with closing(self.pipeline.micro_batches(place.feed, last_epoch=self.plan.last_epoch)) as micro_batches:
            taken: list[MicroBatch] = []
            for micro_batch in micro_batches:
                taken.append(micro_batch)
                if len(taken) < self.plan.accumulation and not micro_batch.ends_epoch:
                    continue
                place = _behind(place, taken)
                yield _fed_step(taken, place)
                if self.plan.is_last(place):
                    return
                taken = []


def _fed_step(taken: Sequence[MicroBatch], after: Place) -> FedStep:
    return FedStep(
        batches=tuple(micro_batch.batch for micro_batch in taken if micro_batch.batch is not None),
        outcomes=tuple(outcome for micro_batch in taken for outcome in micro_batch.outcomes),
        after=after,
    )


def _behind(place: Place, taken: Sequence[MicroBatch]) -> Place:
    """The place after one more step, of the micro-batches `taken`."""
    before = 0 if place.ends_epoch else place.rows
    return Place(
        step=place.step + 1,
        feed=taken[-1].after,
        epoch=place.epoch + place.ends_epoch,
        rows=before + sum(len(micro_batch.outcomes) for micro_batch in taken),
        ends_epoch=taken[-1].ends_epoch,
    )
