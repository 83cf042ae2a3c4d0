"""Rows in, micro-batches out: encoded, grouped and collated a few steps ahead of the training, always in order.

    order → (worker) outcomes → windows → groups → (worker) batch → (feeding thread) finish → queue → training

What comes out is a function of the order and the position alone; workers and look-ahead change nothing but the speed.
Knows no epochs' arithmetic, no optimiser steps and no files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count

from tunesmith.data.batches.collate import Batch, Collator
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.ahead import iterate_ahead
from tunesmith.data.feed.grouping import Grouper
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.feed.windows import OnBadRow, Planned, Planner
from tunesmith.data.feed.workers import NoWorkers, Ticket, WorkerProcesses, Workers, num_usable_cores
from tunesmith.data.feed.workshop import Made, MakeBatch, Workshop
from tunesmith.data.problem import RowProblem
from tunesmith.data.store.address import RowRef

__all__ = ["FeedPosition", "MicroBatch", "Pipeline"]

_BEGINNING = FeedPosition()

_BATCHES_A_WORKER = 3
"""Micro-batches made ahead for each worker, where the settings do not say."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One micro-batch and what it took.

    batch:      None where media broke while they were opened and no example of the micro-batch is left
    outcomes:   every row consumed for it: those whose last sample it has, the unusable and left-out rows among them,
                and those whose media broke; the outcomes of an epoch's micro-batches are the epoch's rows, each once
    after:      where to go on behind it; for the last of an epoch, the beginning of the next
    ends_epoch: whether it is the last of its epoch
    """

    batch: Batch | None
    outcomes: tuple[Outcome, ...]
    after: FeedPosition
    ends_epoch: bool


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that makes micro-batches of rows.

    num_workers: processes that encode and collate; 0 leaves it to the feeding thread
    ahead:       micro-batches ready before they are asked for, None for three a worker
    on_bad_row:  stop raises DataError naming the rows when their turn comes, skip hands them on in MicroBatch.outcomes
    finish:      last touch on each batch (positions, pinning), in the feeding thread of this process
    """

    examples: Examples
    order: Order
    grouper: Grouper
    collator: Collator
    num_workers: int = 0
    ahead: int | None = None
    on_bad_row: OnBadRow = "stop"
    finish: Callable[[Batch], Batch] | None = None

    def micro_batches(
        self, position: FeedPosition = _BEGINNING, *, last_epoch: int | None = None
    ) -> Generator[MicroBatch, None, None]:
        """The micro-batches from `position` on, through `last_epoch` (None: without end).

        Close the iterator (contextlib.closing) to end the workers. Raises DataError for rows, RunError for a worker
        that died.
        """
        workers = self._build_workers()
        ahead = self.ahead or _BATCHES_A_WORKER * max(workers.count, 1)
        made = self._make(workers, position, last_epoch)
        with closing(workers), closing(iterate_ahead(made, most=ahead, call_off=workers.call_off)) as micro_batches:
            yield from micro_batches

    def _build_workers(self) -> Workers:
        workshop = Workshop(self.examples, self.collator, self.on_bad_row)
        num_workers = min(self.num_workers, num_usable_cores())
        return WorkerProcesses(workshop, count=num_workers) if num_workers else NoWorkers(workshop)

    def _make(self, workers: Workers, position: FeedPosition, last_epoch: int | None) -> Iterator[MicroBatch]:
        """In order, in the feeding thread; enough are in the making to keep every worker busy."""
        in_making: deque[tuple[Planned, Ticket]] = deque()
        lost: dict[RowRef | None, RowProblem] = {}
        for planned in self._plan(workers, position, last_epoch):
            in_making.append((planned, workers.submit(MakeBatch(planned.samples)) if planned.samples else Ticket()))
            if len(in_making) > workers.count:
                yield self._finish(workers, *in_making.popleft(), lost)
        while in_making:
            yield self._finish(workers, *in_making.popleft(), lost)

    def _plan(self, workers: Workers, position: FeedPosition, last_epoch: int | None) -> Iterator[Planned]:
        """Epoch after epoch, each from its beginning but the first."""
        planner = Planner(self.order, self.grouper, workers, self.on_bad_row)
        for epoch in count(position.epoch) if last_epoch is None else range(position.epoch, last_epoch + 1):
            yield from planner.epoch(position if epoch == position.epoch else FeedPosition(epoch))

    def _finish(
        self, workers: Workers, planned: Planned, ticket: Ticket, lost: dict[RowRef | None, RowProblem]
    ) -> MicroBatch:
        """`lost`: why samples of rows could not be made in this epoch; a row's last sample tells it."""
        if planned.problem is not None:
            raise planned.problem
        made: Made = workers.result(ticket)
        batch = made.batch if self.finish is None or made.batch is None else self.finish(made.batch)
        lost.update((planned.samples[number].ref, problem) for number, problem in made.broken.items())
        outcomes = _without_broken(planned, lost)
        if planned.ends_epoch:
            lost.clear()
        return MicroBatch(batch, outcomes, planned.after, planned.ends_epoch)


def _without_broken(planned: Planned, lost: Mapping[RowRef | None, RowProblem]) -> tuple[Outcome, ...]:
    """The rows of `planned`, those whose media broke with the problem in the place of the example."""
    if not lost:
        return planned.outcomes
    return tuple(_less(outcome, lost.get(outcome.ref)) for outcome in planned.outcomes)


def _less(outcome: Outcome, problem: RowProblem | None) -> Outcome:
    """What is left of a row when a sample of it cannot be made: the others that a document gives, or nothing."""
    if problem is None or outcome.encoded is None:
        return outcome
    if outcome.encoded.pieces:
        return replace(outcome, cut=f"samples cut: {problem.reason}")
    return replace(outcome, encoded=None, cut=None, problem=problem)
