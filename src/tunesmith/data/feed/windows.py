"""Chunks of an epoch's order → windows of outcomes → micro-batches still to be made.

    order.chunks → (workers) outcomes → window → groups → Planned

Rows are encoded in the rhythm in which micro-batches are planned: while those of one window are made, the rows of the
next are encoded, a few at a time. Knows nothing of tensors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.grouping import Grouper, WindowSize
from tunesmith.data.feed.order import Chunk, Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.feed.workers import Ticket, Workers
from tunesmith.data.problem import describe_problems
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError

OnBadRow = Literal["stop", "skip"]

_ROWS_OF_A_CHUNK = 32
"""Rows that a worker encodes at a time: enough to be worth the sending, few enough to begin soon."""


@dataclass(frozen=True, slots=True)
class EncodeRows:
    """A request to encode rows; the answer is their outcomes, in order."""

    refs: tuple[RowRef, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that micro-batches are made of together: all outcomes from `start` (done: 0) up to `end`."""

    start: FeedPosition
    end: FeedPosition
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A micro-batch before it is made.

    samples:  what its batch is made of, in order
    outcomes: the rows it uses up, see MicroBatch: each comes with the last of its samples
    problem:  why no more micro-batches can be made; it is raised when their turn comes
    """

    samples: tuple[Encoded, ...]
    outcomes: tuple[Outcome, ...]
    after: FeedPosition
    ends_epoch: bool = False
    problem: DataError | None = None


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans epochs. With on_bad_row `stop`, the last of a plan has a problem that names a window's unusable rows."""

    order: Order
    grouper: Grouper
    workers: Workers
    on_bad_row: OnBadRow

    def epoch(self, position: FeedPosition) -> Iterator[Planned]:
        """The micro-batches of the epoch of `position`, from there on; a problem where none of its rows can be used."""
        chunks = self.order.chunks(replace(position, done=0), size=_ROWS_OF_A_CHUNK)
        reader = _Reader(chunks, self.workers, least_rows=self.workers.count * _ROWS_OF_A_CHUNK)
        return _mark_last(self._micro_batches(reader, position), next_epoch=FeedPosition(position.epoch + 1))

    def _micro_batches(self, reader: _Reader, position: FeedPosition) -> Iterator[Planned]:
        """What windows without an example hold goes with the next micro-batch, or at the end comes without one."""
        unused: tuple[Outcome, ...] = ()
        for window in self._windows(reader, position):
            problem = _describe_bad_rows(window.outcomes) if self.on_bad_row == "stop" else None
            if problem is not None:
                yield Planned((), (), window.start, problem=problem)
                return
            planned = self._plan(window, unused)
            unused = () if planned else unused + window.outcomes
            num_done = position.done if window.start.row == position.row else 0
            for number, micro_batch in enumerate(planned[num_done:], start=num_done + 1):
                reader.send_ahead(len(window.outcomes) * number // len(planned))
                yield micro_batch
        if unused:
            yield Planned((), unused, FeedPosition(position.epoch + 1))

    def _windows(self, reader: _Reader, position: FeedPosition) -> Iterator[Window]:
        start = replace(position, done=0)
        outcomes: list[Outcome] = []
        samples = tokens = 0
        for chunk, chunk_outcomes in reader:
            for row, outcome in enumerate(chunk_outcomes, start=chunk.row + 1):
                outcomes.append(outcome)
                if outcome.encoded is not None:
                    samples, tokens = samples + len(outcome.encoded.sample_lengths), tokens + len(outcome.encoded)
                is_first = (start.epoch, start.row) == (0, 0)
                if self.grouper.is_complete(WindowSize(len(outcomes), samples, tokens, is_first)):
                    end = FeedPosition(start.epoch, row, 0, chunk.stream)
                    yield Window(start, end, tuple(outcomes))
                    start, outcomes, samples, tokens = end, [], 0, 0
        if outcomes:
            yield Window(start, FeedPosition(start.epoch + 1), tuple(outcomes))

    def _plan(self, window: Window, unused: tuple[Outcome, ...]) -> list[Planned]:
        """The micro-batches of a window. The first takes the rows that give no sample, and `unused` before them."""
        samples = [
            _Sample(sample, row)
            for row, outcome in enumerate(window.outcomes)
            if outcome.encoded is not None
            for sample in outcome.encoded.samples()
        ]
        lengths = [len(sample.encoded) for sample in samples]
        groups = self.grouper.group(lengths, random=self.order.random(window.start))
        chosen = [[samples[index] for index in group] for group in groups]
        last = {sample.row: number for number, group in enumerate(chosen) for sample in group}
        planned = []
        for number, group in enumerate(chosen):
            ended = dict.fromkeys(sample.row for sample in group if last[sample.row] == number)
            planned.append(
                Planned(
                    samples=tuple(sample.encoded for sample in group),
                    outcomes=tuple(window.outcomes[row] for row in ended),
                    after=replace(window.start, done=number + 1),
                )
            )
        return _with_rest(planned, (*unused, *(one for one in window.outcomes if one.encoded is None)), window.end)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample with the number of its row in the window."""

    encoded: Encoded
    row: int


@dataclass(slots=True)
class _Reader:
    """Outcomes of chunks, in order; `least_rows` rows are handed to the workers before they are asked for."""

    chunks: Iterator[Chunk]
    workers: Workers
    least_rows: int
    _sent: deque[tuple[Chunk, Ticket]] = field(default_factory=deque)
    _num_sent: int = 0

    def __iter__(self) -> Iterator[tuple[Chunk, Sequence[Outcome]]]:
        while True:
            self.send_ahead(1)
            if not self._sent:
                return
            chunk, ticket = self._sent.popleft()
            self._num_sent -= len(chunk.refs)
            self.send_ahead(self.least_rows)
            yield chunk, self.workers.result(ticket)

    def send_ahead(self, num_rows: int) -> None:
        """See that `num_rows` more rows, or all that are left, are with the workers or encoded."""
        while self._num_sent < num_rows:
            chunk = next(self.chunks, None)
            if chunk is None:
                return
            self._sent.append((chunk, self.workers.submit(EncodeRows(chunk.refs))))
            self._num_sent += len(chunk.refs)


def _with_rest(planned: list[Planned], others: tuple[Outcome, ...], end: FeedPosition) -> list[Planned]:
    """The micro-batches of one window, the first with the rows that give no sample, the last leading on to `end`."""
    if not planned:
        return []
    planned[0] = replace(planned[0], outcomes=others + planned[0].outcomes)
    planned[-1] = replace(planned[-1], after=end)
    return planned


def _mark_last(planned: Iterator[Planned], *, next_epoch: FeedPosition) -> Iterator[Planned]:
    """The same micro-batches; each is held back until it is known whether another one comes in the epoch."""
    held: Planned | None = None
    for micro_batch in planned:
        if held is not None and not micro_batch.samples and micro_batch.problem is None:
            held = replace(held, outcomes=held.outcomes + micro_batch.outcomes)
            continue
        if held is not None:
            yield held
        held = micro_batch
    if held is None:
        yield Planned((), (), next_epoch, problem=DataError("the datasets have no row left for this; add rows"))
    elif held.problem is not None:
        yield held
    elif not held.samples:
        yield replace(held, problem=_describe_no_example(held.outcomes))
    else:
        yield replace(held, after=next_epoch, ends_epoch=True)


def _describe_bad_rows(outcomes: Sequence[Outcome]) -> DataError | None:
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None and not outcome.is_dropped]
    return DataError(describe_problems(problems, num_rows=len(outcomes))) if problems else None


def _describe_no_example(outcomes: Sequence[Outcome]) -> DataError:
    first = next(outcome.problem for outcome in outcomes if outcome.problem is not None)
    return DataError(f"none of {len(outcomes):,} rows gives an example; the first: {first}")
