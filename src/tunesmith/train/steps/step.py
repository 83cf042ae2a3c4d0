"""One optimiser step: forward and backward over its micro-batches, clipping, update.

The loss of every micro-batch is its sum over terms divided by the number of terms of the whole step, so that no split
of a step's rows into micro-batches changes loss or gradients. Knows nothing of epochs, files or logging.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError
from tunesmith.train.objectives.objective import LossSum
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.means import Means, read_together
from tunesmith.train.steps.parallel import Parallel

_NUM_NAMED_ROWS = 8


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """loss_sum over num_terms; grad_norm before clipping, None where the step had no terms and changed nothing. It is 0
    where the terms depend on nothing that trains, as those of text rows where only a vision tower does.

    num_supervised, num_tokens: tokens in the loss, and all without padding
    learning_rate: what the step was taken with, of the first parameter group that takes `learning_rate` itself
    """

    loss_sum: float
    num_terms: int
    num_supervised: int
    num_tokens: int
    learning_rate: float
    grad_norm: float | None
    metrics: Means = field(default_factory=dict)


@dataclass(slots=True)
class Stepper:
    """Everything a step changes. `max_grad_norm` 0 switches clipping off."""

    forward: Forward
    optimizer: Optimizer
    scheduler: LambdaLR
    parallel: Parallel
    max_grad_norm: float
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.forward.device.type, enabled=self.forward.precision.scaler)

    def take(self, batches: Sequence[Batch]) -> StepOutcome:
        """Train on one step's micro-batches.

        Raises RunError, with the weights as they were, where loss or gradients are not finite.
        """
        objective = self.forward.objective
        num_terms = self.parallel.total(sum(objective.num_terms(batch) for batch in batches))
        num_supervised = sum(batch.num_supervised for batch in batches)
        num_tokens = sum(batch.num_tokens for batch in batches)
        learning_rate = _main_rate(self.optimizer)
        if num_terms == 0:
            self._advance_schedule()
            return StepOutcome(0.0, 0, num_supervised, num_tokens, learning_rate, None)
        batches = [batch for batch in batches if objective.num_terms(batch)]
        self.optimizer.zero_grad(set_to_none=True)
        sums = self._accumulate(batches, num_terms)
        has_gradients = any(parameter.grad is not None for parameter in self._parameters())
        read = read_together(sums, self._clip() if has_gradients else torch.zeros(()))  # the one wait for the device
        (grad_norm,) = read.others
        _refuse_broken_loss(read.losses, batches)
        if not math.isfinite(grad_norm) and not self.scaler.is_enabled():
            raise RunError(f"the gradients are {grad_norm} {_blame(batches)}")
        if has_gradients:
            self._update()
        else:
            self._advance_schedule()
        loss_sum = math.fsum(read.losses)
        return StepOutcome(loss_sum, num_terms, num_supervised, num_tokens, learning_rate, grad_norm, read.metrics)

    def _accumulate(self, batches: Sequence[Batch], num_terms: int) -> list[LossSum]:
        """Add the gradients of every micro-batch; the losses of each, without their graphs."""
        sums: list[LossSum] = []
        means = self._means(batches, num_terms)
        for index, batch in enumerate(batches, start=1):
            loss = self.forward.loss(batch, means=means)
            self.parallel.backward(self.scaler.scale(loss.loss_sum / num_terms), last=index == len(batches))
            sums.append(replace(loss, loss_sum=loss.loss_sum.detach()))
        return sums

    def _means(self, batches: Sequence[Batch], num_terms: int) -> Tensor | None:
        """What the loss of every term depends on, over the whole step; None where nothing does."""
        parts = [self.forward.statistics(batch) for batch in batches]
        known = [part for part in parts if part is not None]
        return self.parallel.sum(torch.stack(known).sum(0)) / num_terms if known else None

    def _clip(self) -> Tensor:
        """Clip the gradients; their norm before, () on the device."""
        self.scaler.unscale_(self.optimizer)
        return self.parallel.clip(self._parameters(), max_norm=self.max_grad_norm or math.inf)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _update(self) -> None:
        """Change the weights. A step that the scaler leaves out does not move the schedule."""
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            self.scheduler.step()

    def _advance_schedule(self) -> None:
        """The schedule counts steps, so it moves on even where there was nothing to learn."""
        with warnings.catch_warnings():
            # torch suspects a mistake when the schedule moves before the optimiser ever did
            warnings.filterwarnings("ignore", message="Detected call of", category=UserWarning)
            self.scheduler.step()


def _refuse_broken_loss(sums: Sequence[float], batches: Sequence[Batch]) -> None:
    for value, batch in zip(sums, batches, strict=True):
        if not math.isfinite(value):
            raise RunError(f"the loss is {value} {_blame([batch])}")


def _blame(batches: Sequence[Batch]) -> str:
    rows = [str(source) for batch in batches for source in batch.sources]
    more = f" and {len(rows) - _NUM_NAMED_ROWS} more" if len(rows) > _NUM_NAMED_ROWS else ""
    return (
        f"on these rows: {'; '.join(rows[:_NUM_NAMED_ROWS])}{more}. They changed no weight. Look at the rows "
        "(tunesmith data preview), lower learning_rate, or use bf16 or float32 instead of fp16"
    )


def _main_rate(optimizer: Optimizer) -> float:
    """A part with a rate of its own may come first in the model: the run's is shown, where anything takes it."""
    groups = optimizer.param_groups
    return float(next((group for group in groups if group.get("is_main")), groups[0])["lr"])
