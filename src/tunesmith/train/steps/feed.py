"""The micro-batches of every step, from any place on, without making those before it.

Order is a function of seed and epoch, a batch one of its rows: a resumed run is fed what the run never stopped was,
with another number of processes too. Every process goes through the same steps, and is given its own micro-batches of
each.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from tunesmith.data.batches.batch import Batch
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.lost import LostSample
from tunesmith.data.feed.pipeline import MicroBatch, Pipeline
from tunesmith.errors import TunesmithError
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.plan import StepPlan


@dataclass(frozen=True, slots=True)
class FedStep:
    """What one step takes. All but `batches`, `lost` and `problem` is the same in every process.

    batches:           this process's own, each with its `number` in the step; in lockstep fillers among them, so that
                       every process has as many
    outcomes:          what became of every row used up for the step, as far as this process knows (see `LostSamples`)
    after:             the place behind it
    num_micro_batches: of the step, over all processes
    lost:              samples that could not be made here
    problem:           why this process cannot take the step. It is the last then, has nothing else, and `after` is the
                       place before it
    """

    batches: tuple[Batch, ...]
    outcomes: tuple[Outcome, ...]
    after: Place
    num_micro_batches: int
    lost: tuple[LostSample, ...] = ()
    problem: TunesmithError | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the batches in the step."""
        return tuple(batch.number for batch in self.batches)

    @property
    def num_positions(self) -> int:
        """Tokens of the batches, padding and what only keeps processes in step included."""
        return sum(batch.labels.numel() for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Feed:
    """The pipeline's micro-batches cut into the plan's steps."""

    pipeline: Pipeline
    plan: StepPlan

    def steps(self, place: Place) -> Generator[FedStep]:
        """The step at `place` and every later one of the plan. Close the iterator: it holds threads and processes.

        Rows that cannot be used where on_bad_row is stop, and a worker that died, end the steps with one that has a
        problem.
        """
        if self.plan.is_last(place):
            return
        share = replace(self.pipeline.share, per_step=self.plan.accumulation)
        made = replace(self.pipeline, share=share).micro_batches(place.feed, last_epoch=self.plan.last_epoch)
        with closing(made) as micro_batches:
            while (fed := self._next(micro_batches, place)) is not None:
                yield fed
                place = fed.after
                if fed.problem is not None or self.plan.is_last(place):
                    return

    def _next(self, micro_batches: Iterator[MicroBatch], place: Place) -> FedStep | None:
        """The step at `place`; None where the micro-batches end."""
        taken: list[MicroBatch] = []
        try:
            for micro_batch in micro_batches:
                taken.append(micro_batch)
                if len(taken) == self.plan.accumulation or micro_batch.ends_epoch:
                    return _fed_step(taken, place)
        except TunesmithError as error:
            return FedStep((), (), place, 0, problem=error)
        return None


def _fed_step(taken: Sequence[MicroBatch], place: Place) -> FedStep:
    problem = next((one.problem for one in taken if one.problem is not None), None)
    if problem is not None:
        return FedStep((), (), place, 0, problem=problem)
    return FedStep(
        batches=tuple(micro_batch.batch for micro_batch in taken if micro_batch.batch is not None),
        outcomes=tuple(outcome for micro_batch in taken for outcome in micro_batch.outcomes),
        after=_behind(place, taken),
        num_micro_batches=len(taken),
        lost=tuple(row for micro_batch in taken for row in micro_batch.lost),
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
