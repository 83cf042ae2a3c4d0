"""Planned micro-batches → the same with their numbers in the step, and with what this process makes for each.

A turn is one micro-batch for every process: numbers 0 … P - 1 of a step, then P … 2P - 1. Where processes run in
lockstep, a turn is looked at as a whole: each of its batches needs the kinds of media that any of them has, and a
process for which the end of a step leaves none makes a filler. Knows nothing of tensors and workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunesmith.chat.message import MediaKind
from tunesmith.data.batches.ballast import Ballast
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.feed.share import Share
from tunesmith.data.feed.windows import Planned


@dataclass(frozen=True, slots=True)
class Assigned:
    """A planned micro-batch and what is to be done for it here.

    number:  of it in its step, from 0
    samples: what this process makes a batch of when its turn comes, () for a filler; None where it makes nothing
    kinds:   the kinds of media that the batch must have in lockstep; None otherwise
    """

    planned: Planned
    number: int
    samples: tuple[Encoded, ...] | None
    kinds: frozenset[MediaKind] | None = None


@dataclass(frozen=True, slots=True)
class Assigner:
    """Says what the process of `share` makes of planned micro-batches. `ballast`: needed for lockstep alone."""

    share: Share
    ballast: Ballast | None = None

    def assign(self, planned: Iterator[Planned]) -> Iterator[Assigned]:
        """All of `planned`, the first of which begins a step. A turn in which planning fails is the failure alone."""
        for turn, first in self._turns(planned):
            if turn[-1].problem is not None:
                yield Assigned(turn[-1], first + len(turn) - 1, None)
            else:
                yield from self._assign_turn(turn, first)

    def _turns(self, planned: Iterator[Planned]) -> Iterator[tuple[list[Planned], int]]:
        """The micro-batches of each turn, and the number of the first; one by one where nobody keeps step."""
        size = self.share.num_processes if self.share.lockstep else 1
        number = 0
        turn: list[Planned] = []
        for micro_batch in planned:
            turn.append(micro_batch)
            number += 1
            ends_step = number == self.share.per_step or micro_batch.ends_epoch
            if ends_step or len(turn) == size or micro_batch.problem is not None:
                yield turn, number - len(turn)
                turn = []
            if ends_step:
                number = 0

    def _assign_turn(self, turn: Sequence[Planned], first: int) -> Iterator[Assigned]:
        kinds: frozenset[MediaKind] | None = None
        if self.share.lockstep:
            assert self.ballast is not None, "processes in lockstep are given ballast"
            kinds = frozenset[MediaKind]()
            if self.share.same_media:
                kinds = self.ballast.kinds_of(sample for micro_batch in turn for sample in micro_batch.samples)
        has_own = any(self.share.has(number) for number in range(first, first + len(turn)))
        for number, micro_batch in enumerate(turn, start=first):
            samples = micro_batch.samples if self.share.has(number) else None
            if kinds is not None and not has_own and micro_batch is turn[-1]:
                samples = ()
            yield Assigned(micro_batch, number, samples, kinds)
