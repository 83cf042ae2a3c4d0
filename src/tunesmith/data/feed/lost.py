"""Samples that could not be made, because their media turned out to be broken, and what becomes of their rows.

Only the process that made the batch knows; once the processes have told each other, the outcomes of a step are the same
in all of them. Knows nothing of how they tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tunesmith.data.examples import Outcome
from tunesmith.data.problem import RowProblem
from tunesmith.data.store.address import RowRef


@dataclass(frozen=True, slots=True)
class LostSample:
    """A sample of the row at `ref` that could not be made, in micro-batch `number` of a step."""

    number: int
    ref: RowRef
    problem: RowProblem


@dataclass(slots=True)
class LostSamples:
    """What is known of an epoch's lost samples; a row is told with its last sample, which may come some steps later."""

    _problems: dict[RowRef, RowProblem] = field(default_factory=dict)

    def settle(
        self, outcomes: Iterable[Outcome], found: Iterable[LostSample], *, ends_epoch: bool
    ) -> tuple[Outcome, ...]:
        """The outcomes of a step with what the samples lost in it (`found`), and before it, make of them.

        ends_epoch: whether the epoch ends with it, and everything is forgotten
        """
        ordered = sorted(found, key=lambda lost: lost.number)  # several processes tell of one document in any order
        self._problems.update((lost.ref, lost.problem) for lost in ordered)
        settled = without_lost(outcomes, self._problems)
        if ends_epoch:
            self._problems.clear()
        return settled


def without_lost(outcomes: Iterable[Outcome], lost: Mapping[RowRef, RowProblem]) -> tuple[Outcome, ...]:
    """`outcomes`, those of lost rows with the problem in the place of the example."""
    if not lost:
        return tuple(outcomes)
    return tuple(_less(outcome, lost.get(outcome.ref)) for outcome in outcomes)


def _less(outcome: Outcome, problem: RowProblem | None) -> Outcome:
    """What is left of a row when a sample of it cannot be made: the others that a document gives, or nothing."""
    if problem is None or outcome.encoded is None:
        return outcome
    if outcome.encoded.pieces:
        return replace(outcome, cut=f"samples cut: {problem.reason}")
    return replace(outcome, encoded=None, cut=None, problem=problem)
