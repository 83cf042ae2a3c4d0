"""One optimiser step: forward and backward over its micro-batches, clipping, update.

The loss of every micro-batch is its sum over terms divided by the number of terms of the whole step, so that no split
of a step's rows into micro-batches changes loss or gradients. Knows nothing of epochs, files or logging.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.accumulation import Accumulation
from tunesmith.train.steps.counts import StepCounts, count_together
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.means import Means, Totals, add_over_processes
from tunesmith.train.steps.not_finite import Inquiry, NotFiniteError, Ran
from tunesmith.train.steps.out_of_memory import memory_ran_out
from tunesmith.train.steps.portions import Halving, Splitter
from tunesmith.train.steps.refusal import StepRefusedError, share

_MOST_OVERFLOWS = 24
"""Steps in a row that fp16's scaler may leave out. It halves its scale of 65,536 each time, so what still overflows
after so many does at any scale."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """loss_sum over `counts.terms`, both over all processes; grad_norm before clipping, None where the step had no
    terms and changed nothing. It is 0 where the terms depend on nothing that trains, as those of text rows where only a
    vision tower does.

    learning_rate: what the step was taken with, of the first parameter group that takes `learning_rate` itself
    halvings:      micro-batches that did not fit into memory, of all processes
    skipped:       whether it was given up: nothing of it counts
    """

    loss_sum: float
    counts: StepCounts
    learning_rate: float
    grad_norm: float | None
    metrics: Means = field(default_factory=dict)
    halvings: tuple[Halving, ...] = ()
    skipped: bool = False

    @property
    def num_terms(self) -> int:
        """What the loss is a mean over."""
        return self.counts.terms

    @property
    def num_supervised(self) -> int:
        """Tokens in the loss."""
        return self.counts.supervised

    @property
    def num_tokens(self) -> int:
        """All tokens without padding."""
        return self.counts.tokens


@dataclass(slots=True)
class Stepper:
    """Everything a step changes. `max_grad_norm` 0 switches clipping off.

    splitter:         makes portions of micro-batches that do not fit into memory
    optimizer_advice: what helps where the optimiser's state does not fit
    """

    forward: Forward
    optimizer: Optimizer
    scheduler: LambdaLR
    parallel: Parallel
    max_grad_norm: float
    splitter: Splitter = field(default_factory=Splitter)
    optimizer_advice: str = ""
    scaler: torch.amp.GradScaler = field(init=False)
    _overflows: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.scaler = self.parallel.scaler(self.forward.device, enabled=self.forward.precision.scaler)

    def take(
        self,
        batches: Sequence[Batch],
        *,
        counts: StepCounts | None = None,
        seed: Callable[[int], None] | None = None,
    ) -> StepOutcome:
        """Train on this process's micro-batches of one step. For all processes together.

        counts: of the whole step; None counts them here
        seed:   called with the index of each of `batches` before it runs

        Raises, with the weights as they were and in every process, NotFiniteError where loss or gradients are not
        finite, and StepRefusedError where some process cannot take the step; RunError where the optimiser runs out of
        memory.
        """
        counts = counts or count_together(self.parallel, self.forward, batches)
        learning_rate = _main_rate(self.optimizer)
        if counts.terms == 0:
            self._advance_schedule()
            return StepOutcome(0.0, counts, learning_rate, None)
        work = self._accumulate(batches, counts.terms, seed)
        self.parallel.sum_gradients(self._parameters())
        norm = self._clip()
        read = add_over_processes(
            self.parallel,
            [loss for _, loss in work.ran],
            names=self.forward.objective.metrics,
            norm=norm,
            tells=work.problem is not None or bool(self.splitter.halvings),
        )
        halvings = self._share(work) if read.telling else ()
        self._refuse_broken(read, work)
        self._update()
        return StepOutcome(read.loss_sum, counts, learning_rate, read.norm, read.metrics, halvings)

    def skip(self, counts: StepCounts) -> StepOutcome:
        """Give up a step that could not be taken: only the schedule moves on."""
        learning_rate = _main_rate(self.optimizer)
        if self.scaler.is_enabled():
            self.scaler.update()
        self._advance_schedule()
        nothing = replace(counts, terms=0, supervised=0, tokens=0, positions=0)
        return StepOutcome(0.0, nothing, learning_rate, None, skipped=True)

    def _accumulate(self, batches: Sequence[Batch], num_terms: int, seed: Callable[[int], None] | None) -> Accumulation:
        work = Accumulation(
            forward=self.forward,
            parallel=self.parallel,
            scaler=self.scaler,
            splitter=self.splitter,
            num_terms=num_terms,
            forget=lambda: self.parallel.clear_gradients(self.optimizer),
            seed=seed,
        )
        work.run(batches)
        return work

    def _share(self, work: Accumulation) -> tuple[Halving, ...]:
        try:
            return share(self.parallel, self.splitter, work.problem)
        except StepRefusedError:
            self.parallel.clear_gradients(self.optimizer)
            raise

    def _clip(self) -> Tensor:
        """Clip the gradients; their norm before, () on the device."""
        self.scaler.unscale_(self.optimizer)
        return self.parallel.clip(self._parameters(), max_norm=self.max_grad_norm or math.inf)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _refuse_broken(self, read: Totals, work: Accumulation) -> None:
        """Raise NotFiniteError, in every process, where the step must not be taken."""
        overflows = self.scaler.is_enabled() and not math.isfinite(read.norm)
        self._overflows = self._overflows + 1 if overflows else 0
        may_pass = math.isfinite(read.norm) or (overflows and self._overflows <= _MOST_OVERFLOWS)
        if math.isfinite(read.loss_sum) and may_pass:
            return
        self.parallel.clear_gradients(self.optimizer)
        among_gradients = math.isfinite(read.loss_sum)
        inquiry = Inquiry(
            self.forward,
            self._parameters(),
            split=None if self.parallel.lockstep else self.splitter.split,
            num_terms=work.num_terms,
            means=work.means,
        )
        ran = [Ran(batch, loss.loss_sum.item()) for batch, loss in work.ran]
        trouble = inquiry.find(ran, rank=self.parallel.rank, among_gradients=among_gradients)
        raise NotFiniteError(
            f"the gradients are {read.norm}" if among_gradients else f"the loss is {read.loss_sum}", trouble
        )

    def _update(self) -> None:
        """Change the weights. A step that the scaler leaves out does not move the schedule."""
        scale = self.scaler.get_scale()
        is_first = not self.optimizer.state
        reason = memory_ran_out(lambda: self.parallel.update(self.optimizer, self.scaler))
        if reason is not None:
            raise RunError(_describe_optimizer(reason, is_first=is_first, advice=self.optimizer_advice))
        if self.scaler.get_scale() >= scale:
            self.scheduler.step()

    def _advance_schedule(self) -> None:
        """The schedule counts steps, so it moves on even where there was nothing to learn."""
        with warnings.catch_warnings():
            # torch suspects a mistake when the schedule moves before the optimiser ever did
            warnings.filterwarnings("ignore", message="Detected call of", category=UserWarning)
            self.scheduler.step()


def _describe_optimizer(reason: str, *, is_first: bool, advice: str) -> str:
    doing = "made room for its state in its first step" if is_first else "changed the weights"
    return (
        f"out of memory ({reason}) while the optimiser {doing}. Weights may be half changed and are not saved; the "
        f"last checkpoint is whole. {advice}"
    )


def _main_rate(optimizer: Optimizer) -> float:
    """A part with a rate of its own may come first in the model: the run's is shown, where anything takes it."""
    groups = optimizer.param_groups
    return float(next((group for group in groups if group.get("is_main")), groups[0])["lr"])
