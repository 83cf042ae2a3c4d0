"""The arithmetic of a run: how many steps, which rows of which epoch a step is made of.

A step takes `accumulation` micro-batches of `batch_size` rows; the last step of an epoch takes what is left.
Knows nothing of tensors or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import DataError


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Steps are counted from 0 here; a step number shown to a user counts finished steps."""

    num_examples: int
    batch_size: int
    accumulation: int
    total_steps: int

    @property
    def micro_batches_per_epoch(self) -> int:
        """Batches in one pass over the examples, the last perhaps smaller."""
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass, the last perhaps of fewer micro-batches."""
        return math.ceil(self.micro_batches_per_epoch / self.accumulation)

    def locate(self, step: int) -> tuple[int, int]:
        """The epoch that `step` belongs to, and how many of the epoch's micro-batches come before it."""
        epoch, in_epoch = divmod(step, self.steps_per_epoch)
        return epoch, in_epoch * self.accumulation

    def epochs_after(self, num_steps: int) -> float:
        """How many epochs `num_steps` finished steps make, in fractions of micro-batches."""
        epochs, steps = divmod(num_steps, self.steps_per_epoch)
        return epochs + min(steps * self.accumulation, self.micro_batches_per_epoch) / self.micro_batches_per_epoch

    def ends_epoch(self, num_steps: int) -> bool:
        """Whether the last of `num_steps` finished steps ended an epoch."""
        return num_steps % self.steps_per_epoch == 0


def plan_steps(training: TrainingSettings, *, num_examples: int) -> StepPlan:
    """The plan for `num_train_epochs` (fractions allowed) or, above 0, `max_steps`. Raises DataError without rows."""
    if num_examples == 0:
        raise DataError("no row is left to train on; see data_report.json for what was dropped and why")
    plan = StepPlan(num_examples, training.per_device_train_batch_size, training.gradient_accumulation_steps, 0)
    by_epochs = math.ceil(training.num_train_epochs * plan.steps_per_epoch)
    return replace(plan, total_steps=training.max_steps if training.max_steps > 0 else by_epochs)


def interval_in_steps(value: float, *, total_steps: int) -> int:
    """`save_steps` and the like: a number of steps, or below 1 a share of all."""
    return max(1, math.ceil(value * total_steps) if value < 1 else int(value))
