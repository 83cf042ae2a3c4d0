"""Rows in, micro-batches out: encoded, grouped and collated a few steps ahead of the training, always in order.

    order → (worker) outcomes → windows → groups → own ones → (worker) batch → (feeding thread) finish → training

What comes out is a function of the order and the position alone; workers and look-ahead change nothing but the speed.
Several processes go through the same micro-batches, and each makes its own of them: only for those media are opened.
Knows no epochs' arithmetic, no optimiser steps and no files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count

from tunesmith.chat.message import MediaKind
from tunesmith.data.batches.ballast import Ballast
from tunesmith.data.batches.collate import Batch, Collator
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.ahead import iterate_ahead
from tunesmith.data.feed.grouping import Grouper
from tunesmith.data.feed.lost import LostSample, LostSamples
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.feed.share import Share
from tunesmith.data.feed.splitting import halves
from tunesmith.data.feed.turns import Assigned, Assigner
from tunesmith.data.feed.windows import OnBadRow, Planned, Planner
from tunesmith.data.feed.workers import NoWorkers, Ticket, WorkerProcesses, Workers, num_usable_cores
from tunesmith.data.feed.workshop import Made, MakeBatch, Workshop
from tunesmith.errors import DataError

__all__ = ["FeedPosition", "MicroBatch", "Pipeline"]

_BEGINNING = FeedPosition()

_BATCHES_A_WORKER = 3
"""Micro-batches made ahead for each worker, where the settings do not say."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One micro-batch and what it took. All but `batch`, `lost` and `problem` is the same in every process.

    number:     of it in its step, from 0
    batch:      what this process runs for it. None where it is another's, or where media broke while they were opened
                and no example of the micro-batch is left; in lockstep there is a filler then, and one with the last of
                a step in which this process has no own one for the turn
    outcomes:   every row consumed for it: those whose last sample it has, the unusable and left-out rows among them,
                and those whose media broke, as far as this process knows; the outcomes of an epoch's micro-batches are
                the epoch's rows, each once
    after:      where to go on behind it; for the last of an epoch, the beginning of the next
    ends_epoch: whether it is the last of its epoch
    lost:       the samples that could not be made for it here
    problem:    in lockstep, why there is a filler in the place of its own batch, where on_bad_row is stop
    """

    number: int
    batch: Batch | None
    outcomes: tuple[Outcome, ...]
    after: FeedPosition
    ends_epoch: bool
    lost: tuple[LostSample, ...] = ()
    problem: DataError | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that makes micro-batches of rows.

    num_workers: processes that encode and collate; 0 leaves it to the feeding thread
    ahead:       micro-batches of its own ready before they are asked for, None for three a worker
    on_bad_row:  stop raises DataError naming the rows when their turn comes, skip hands them on in MicroBatch.outcomes
    finish:      last touch on each batch (positions, pinning), in the feeding thread of this process
    share:       which micro-batches are this process's own
    ballast:     what batches in lockstep are completed with
    """

    examples: Examples
    order: Order
    grouper: Grouper
    collator: Collator
    num_workers: int = 0
    ahead: int | None = None
    on_bad_row: OnBadRow = "stop"
    finish: Callable[[Batch], Batch] | None = None
    share: Share = field(default_factory=Share)
    ballast: Ballast | None = None

    def micro_batches(
        self, position: FeedPosition = _BEGINNING, *, last_epoch: int | None = None
    ) -> Generator[MicroBatch, None, None]:
        """The micro-batches from `position`, where a step begins, through `last_epoch` (None: without end).

        Close the iterator (contextlib.closing) to end the workers. Raises DataError for rows, RunError for a worker
        that died.
        """
        workers = self._build_workers()
        ahead = (self.ahead or _BATCHES_A_WORKER * max(workers.count, 1)) * self.share.num_processes
        assigned = Assigner(self.share, self.ballast).assign(self._plan(workers, position, last_epoch))
        made = self._make_all(workers, assigned)
        with closing(workers), closing(iterate_ahead(made, most=ahead, call_off=workers.call_off)) as micro_batches:
            yield from micro_batches

    def make(self, samples: Sequence[Encoded], *, number: int = 0, kinds: frozenset[MediaKind] | None = None) -> Batch:
        """A batch of these samples alone, made here and now, finished as all are. `number`, `kinds`: see Batch.

        Raises DataError for media that cannot be read.
        """
        workshop = replace(self._workshop, on_bad_row="stop")
        made = workshop.make(MakeBatch(tuple(samples), kinds))
        assert made.batch is not None, "samples make a batch"
        return self._complete(made.batch, samples, number=number, kinds=kinds)

    def split(self, batch: Batch) -> tuple[Batch, Batch] | None:
        """The samples of `batch` in two batches of about as many tokens; None where there are no two. See `make`."""
        parts = halves(batch.samples)
        if parts is None:
            return None
        first, second = (self.make(part, number=batch.number, kinds=batch.kinds) for part in parts)
        return first, second

    @property
    def _workshop(self) -> Workshop:
        return Workshop(self.examples, self.collator, self.on_bad_row, self.ballast)

    def _build_workers(self) -> Workers:
        num_workers = min(self.num_workers, num_usable_cores())
        return WorkerProcesses(self._workshop, count=num_workers) if num_workers else NoWorkers(self._workshop)

    def _plan(self, workers: Workers, position: FeedPosition, last_epoch: int | None) -> Iterator[Planned]:
        """Epoch after epoch, each from its beginning but the first."""
        planner = Planner(self.order, self.grouper, workers, self.on_bad_row)
        for epoch in count(position.epoch) if last_epoch is None else range(position.epoch, last_epoch + 1):
            yield from planner.epoch(position if epoch == position.epoch else FeedPosition(epoch))

    def _make_all(self, workers: Workers, assigned: Iterator[Assigned]) -> Iterator[MicroBatch]:
        """In order, in the feeding thread; enough are in the making to keep every worker busy."""
        in_making: deque[tuple[Assigned, Ticket | None]] = deque()
        num_tickets = 0
        lost = LostSamples()
        for item in assigned:
            ticket = None if item.samples is None else workers.submit(MakeBatch(item.samples, item.kinds))
            in_making.append((item, ticket))
            num_tickets += ticket is not None
            while in_making and (in_making[0][1] is None or num_tickets > workers.count):
                first, ready = in_making.popleft()
                num_tickets -= ready is not None
                yield self._finish(workers, first, ready, lost)
        while in_making:
            yield self._finish(workers, *in_making.popleft(), lost)

    def _finish(self, workers: Workers, item: Assigned, ticket: Ticket | None, lost: LostSamples) -> MicroBatch:
        """`lost`: of which rows samples could not be made here in this epoch."""
        planned = item.planned
        if planned.problem is not None:
            raise planned.problem
        made, problem = self._result(workers, item, ticket)
        batch = made.batch
        samples = [sample for number, sample in enumerate(item.samples or ()) if number not in made.broken]
        found = [
            LostSample(item.number, ref, why)
            for number, why in made.broken.items()
            if (ref := planned.samples[number].ref) is not None
        ]
        return MicroBatch(
            number=item.number,
            batch=None if batch is None else self._complete(batch, samples, number=item.number, kinds=item.kinds),
            outcomes=lost.settle(planned.outcomes, found, ends_epoch=planned.ends_epoch),
            after=planned.after,
            ends_epoch=planned.ends_epoch,
            lost=tuple(found),
            problem=problem,
        )

    def _result(self, workers: Workers, item: Assigned, ticket: Ticket | None) -> tuple[Made, DataError | None]:
        """What was made; in lockstep a filler with the problem for which it could not be."""
        if ticket is None:
            return Made(None, {}), None
        try:
            return workers.result(ticket), None
        except DataError as error:
            if item.kinds is None:
                raise
            return workers.result(workers.submit(MakeBatch((), item.kinds))), error

    def _complete(
        self, batch: Batch, samples: Sequence[Encoded], *, number: int, kinds: frozenset[MediaKind] | None
    ) -> Batch:
        batch = replace(batch, samples=tuple(samples), number=number, kinds=kinds)
        return batch if self.finish is None else self.finish(batch)
