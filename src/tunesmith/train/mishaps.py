"""What a run does about steps that go wrong: says so, keeps the batch, goes on or stops.

A loss or gradient that is not finite ends the run or skips the step, as on_nan says; one far from what the run has had
is warned of; a micro-batch that did not fit into memory was split by the step itself and is told once. Knows nothing of
how steps are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunesmith import log
from tunesmith.config.parallel import OnNan
from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError
from tunesmith.train.bad_batches import BadBatches
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.not_finite import NotFiniteError, Trouble
from tunesmith.train.steps.portions import Halving, describe_halving
from tunesmith.train.steps.refusal import StepRefusedError
from tunesmith.train.steps.row_names import name_sources
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import StepOutcome
from tunesmith.train.steps.usual import Usual, usual_loss, usual_norm

_MOST_SKIPPED_IN_A_ROW = 20
_LOOK_AT = "Look at the rows (tunesmith data preview), lower learning_rate, or use bf16 or float32 instead of fp16"


@dataclass(frozen=True, slots=True)
class _Account:
    """What one process tells the others of a step that is not finite."""

    rank: int
    rows: str
    kept: str
    weight: str | None


@dataclass(slots=True)
class Mishaps:
    """What goes wrong in steps, and what follows.

    keep_fits: writes down what fits into memory
    smaller:   what the next run can set to have micro-batches that fit
    """

    parallel: Parallel
    state: TrainState
    on_nan: OnNan
    bad_batches: BadBatches
    keep_fits: Callable[[], None]
    smaller: str
    _loss: Usual = field(init=False)
    _norm: Usual = field(init=False)
    _told_halving: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._loss, self._norm = usual_loss(self.state.highest_loss), usual_norm(self.state.highest_grad_norm)

    def not_finite(self, error: NotFiniteError, *, step: int) -> None:
        """Keep what `step` ran on. Returns where the step is to be skipped. For all processes together.

        Raises, in every process, StepRefusedError where the run is to stop, and BrokenWeightsError where a checkpoint
        would be worth nothing.
        """
        accounts = self.parallel.gather(self._account_of(error.trouble, error.what, step))
        weights = [account for account in accounts if account.weight is not None]
        if weights:
            raise BrokenWeightsError(_describe_weights(error.what, weights))
        text = f"{error.what} {_describe_rows(accounts)}. No weight was changed"
        in_a_row = self.state.skipped_in_a_row + 1
        if self.on_nan == "stop":
            raise StepRefusedError(f"{text}. {_LOOK_AT}; on_nan: skip goes on without such steps")
        if in_a_row >= _MOST_SKIPPED_IN_A_ROW:
            raise StepRefusedError(f"{text}. on_nan: skip does not help: {in_a_row} steps in a row. {_LOOK_AT}")
        log.warning(f"step {step} is skipped: {text}; the schedule goes on (on_nan: skip)")

    def took(self, outcome: StepOutcome, batches: Sequence[Batch], *, step: int) -> None:
        """Look at a step that was taken: what was split for it, and whether its numbers are out of the ordinary."""
        if outcome.halvings:
            self._tell(outcome.halvings, f"step {step}")
        if outcome.num_terms and outcome.grad_norm is not None:
            self._compare(outcome, outcome.grad_norm, batches, step)

    def evaluated(self, evaluation: Evaluation, *, step: int) -> None:
        """Look at an evaluation after `step`."""
        if evaluation.halvings:
            self._tell(evaluation.halvings, f"evaluation after step {step}")
        if evaluation.num_terms and not math.isfinite(evaluation.loss):
            log.warning(f"the evaluation after step {step} has a loss of {evaluation.loss}")

    def _account_of(self, trouble: Trouble, what: str, step: int) -> _Account:
        facts = {"why": what, "rows_by_themselves_not_finite": [str(row) for row in trouble.rows]}
        kept = self._keep(trouble.batches, step, {**facts, "losses": [str(loss) for loss in trouble.losses]})
        suspects = trouble.rows or tuple(row for batch in trouble.batches for row in batch.sources)
        told = name_sources(suspects) + ("" if trouble.rows or not suspects else " (none of them by itself)")
        return _Account(self.parallel.rank, told if suspects else "", kept, trouble.weight)

    def _keep(self, batches: Sequence[Batch], step: int, facts: dict[str, object]) -> str:
        """Where the batches are kept, or why they are not; "" of none."""
        if not batches:
            return ""
        try:
            place = self.bad_batches.keep(batches, step=step, rank=self.parallel.rank, facts=facts)
        except RunError as error:
            return f"not kept: {error}"
        return f"kept in {place}" if place is not None else f"not kept: {self.bad_batches.folder} is full"

    def _compare(self, outcome: StepOutcome, grad_norm: float, batches: Sequence[Batch], step: int) -> None:
        found = {
            "loss": self._loss.take_in(outcome.loss_sum / outcome.num_terms),
            "gradient norm": self._norm.take_in(grad_norm),
        }
        self.state.highest_loss, self.state.highest_grad_norm = self._loss.highest, self._norm.highest
        unusual = "; ".join(f"the {name} is {what}" for name, what in found.items() if what is not None)
        if unusual:
            kept = self._keep(batches, step, {"why": unusual})
            log.warning(
                f"step {step}: {unusual}. The step was taken; its micro-batches are {kept}. If the loss stays there, "
                "go back to an earlier checkpoint with a lower learning_rate"
            )

    def _tell(self, halvings: Sequence[Halving], where: str) -> None:
        """Once in full, later in short; what fits is written down each time."""
        if self.parallel.rank == 0:
            self._write_fits()
        first = halvings[0]
        if self._told_halving:
            log.info(f"{where}: out of memory again; what is larger than {first.fits} is split from now on")
            return
        self._told_halving = True
        log.warning(f"{where}: {describe_halving(first)}. To spare it, set in the next run {self.smaller}")

    def _write_fits(self) -> None:
        try:
            self.keep_fits()
        except RunError as error:  # the step is taken; a resumed run finds out again
            log.warning(str(error))


class BrokenWeightsError(RunError):
    """Weights hold values that are not finite: a checkpoint of them would be worth nothing."""


def _describe_rows(accounts: Sequence[_Account]) -> str:
    found = [account for account in accounts if account.rows]
    several = len(accounts) > 1
    parts = [f"{account.rows}{f' (process {account.rank})' if several else ''}, {account.kept}" for account in found]
    return "; ".join(parts) if parts else "in the sum over the processes, and in none by itself"


def _describe_weights(what: str, accounts: Sequence[_Account]) -> str:
    names = ", ".join(sorted({account.weight for account in accounts if account.weight is not None}))
    return (
        f"{what} because weights are not finite already: {names}. Of the base model: its files are damaged or in a "
        "format too narrow for them. Of what trains: an earlier step did it, so go on from an earlier checkpoint"
    )
