"""A step's micro-batches in portions that fit into memory.

Each begins as one portion. Where memory runs out in one, it is halved, the gradients of the step so far are forgotten
and the step begins anew with what is left of it whole: no copy of them is needed, and what is computed again is the
same, because every micro-batch seeds its randomness. The loss of a step is a sum over its terms over their number in
the whole step, so portions change neither it nor its gradients but for rounding.

Engines in lockstep cannot do so: a process that ran out of memory has left the others in the middle of a layer. What
fits is remembered, and all start again from the last checkpoint (`StartAgainError`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError, StartAgainError
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.fits import BatchSize, Fits, hull, size_of
from tunesmith.train.steps.out_of_memory import memory_ran_out
from tunesmith.train.steps.row_names import name_rows

Split = Callable[[Batch], tuple[Batch, Batch] | None]
"""Two batches with the samples of one, None where it has no two."""


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of micro-batch `index` of this process's in the step; `begins`: its first one."""

    index: int
    batch: Batch
    begins: bool = True


@dataclass(frozen=True, slots=True)
class Halving:
    """What did not fit, to be told once: `reason` is the first line of what PyTorch said."""

    rank: int
    rows: str
    size: BatchSize
    fits: BatchSize
    reason: str


@dataclass(slots=True)
class Splitter:
    """Halves what does not fit, and remembers what does.

    split:     None where nothing can be halved
    may_split: on_oom; false stops the run instead
    advice:    what would make a micro-batch smaller or memory larger, in this run
    keep_fits: writes what fits to where a run started again reads it; for engines in lockstep
    """

    rank: int = 0
    lockstep: bool = False
    split: Split | None = None
    may_split: bool = True
    advice: str = ""
    fits: Fits = field(default_factory=Fits)
    keep_fits: Callable[[], None] | None = None
    halvings: list[Halving] = field(default_factory=list)

    def portions(self, batches: Sequence[Batch]) -> list[Portion]:
        """The micro-batches of a step, those known to be too large in parts."""
        return [
            Portion(index, part, begins=number == 0)
            for index, batch in enumerate(batches)
            for number, part in enumerate(self._small_enough(batch))
        ]

    def run_each(
        self, portions: list[Portion], work: Callable[[Portion, bool], None], *, again: Callable[[], None]
    ) -> None:
        """`work(portion, last)` for each; where memory runs out `again` is called, to forget what was done and give its
        memory back, the portion is halved in `portions`, and all begin anew.

        Raises RunError for one sample that does not fit, and StartAgainError in lockstep.
        """
        place, was_tried_again = 0, False
        while place < len(portions):
            portion = portions[place]
            reason = memory_ran_out(partial(work, portion, place == len(portions) - 1))
            if reason is None:
                place += 1
                continue
            again()
            halves = self._halve(portion, reason, alone_too=was_tried_again)
            was_tried_again = was_tried_again or len(halves) == 1
            portions[place : place + 1] = halves
            place = 0

    def take_halvings(self) -> list[Halving]:
        """What was halved since the last call."""
        taken, self.halvings = self.halvings, []
        return taken

    def _small_enough(self, batch: Batch) -> list[Batch]:
        if self.split is None or not self.may_split or not self.fits.is_too_large(size_of(batch)):
            return [batch]
        halves = self.split(batch)
        return [batch] if halves is None else [part for half in halves for part in self._small_enough(half)]

    def _halve(self, portion: Portion, reason: str, *, alone_too: bool) -> list[Portion]:
        """The portion in two. One sample gets a second chance, with the memory that was given back, unless
        `alone_too`."""
        batch = portion.batch
        if not self.may_split:
            raise RunError(f"{_did_not_fit(batch, reason)}. on_oom: stop ends the run. {self.advice}")
        halves = None if self.split is None else self.split(batch)
        if halves is None and not alone_too and not self.lockstep:
            return [portion]
        if halves is None:
            raise RunError(
                f"{_did_not_fit(batch, reason)}, and it cannot be split any further: memory is short for this row "
                f"alone. {self.advice}"
            )
        fit = hull(map(size_of, halves))
        self.fits.learn(fit)
        self.halvings.append(Halving(self.rank, name_rows([batch]), size_of(batch), fit, reason))
        if self.lockstep:
            raise self._start_again(batch, reason, fit)
        first, second = halves
        return [replace(portion, batch=first), Portion(portion.index, second, begins=False)]

    def _start_again(self, batch: Batch, reason: str, fit: BatchSize) -> StartAgainError:
        if self.keep_fits is not None:
            self.keep_fits()
        return StartAgainError(
            f"{_did_not_fit(batch, reason)}. The processes wait for each other inside of a micro-batch, so it cannot "
            f"be split now: all are to go on from the last checkpoint (resume_from_checkpoint: true); what is larger "
            f"than {fit} is then split before it is tried. {self.advice}"
        )


def align_portions(portions: list[Portion], num_micro_batches: int, parallel: Parallel) -> list[Portion]:
    """For engines in lockstep: as many portions of every micro-batch as the process has that split it most.

    The others repeat their last one with a loss of zero. For all processes together.
    """
    counts = [sum(portion.index == index for portion in portions) for index in range(num_micro_batches)]
    most = [max(column) for column in zip(*parallel.gather(counts), strict=True)]
    aligned: list[Portion] = []
    for index, wanted in enumerate(most):
        own = [portion for portion in portions if portion.index == index]
        idle = Portion(index, replace(own[-1].batch, is_filler=True), begins=False)
        aligned += [*own, *[idle] * (wanted - len(own))]
    return aligned


def describe_halving(halving: Halving) -> str:
    """What happened and what it costs."""
    return (
        f"out of memory in process {halving.rank} ({halving.reason}). A micro-batch of {halving.size} {halving.rows} "
        "did not fit and was split: rows and loss are what they would have been. From now on what is larger than "
        f"{halving.fits} is split before it is tried, which costs some speed"
    )


def _did_not_fit(batch: Batch, reason: str) -> str:
    return f"out of memory ({reason}) in a micro-batch of {size_of(batch)} {name_rows([batch])}"
