"""The arithmetic of a run on drawn answers: how many prompts a window and how many steps the run has.

A window is what is drawn at a time: `steps_per_generation` micro-batches of answers, learned from `grpo_num_iterations`
times. The run takes prompts epoch after epoch without a break, so that none is left over at an epoch's end. Knows
nothing of TRL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice

from tunesmith.config.settings import Settings
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.plan import StepPlan


@dataclass(frozen=True, slots=True)
class DrawingPlan:
    """Windows and steps of a run.

    prompts_per_window: different prompts that are answered at a time
    steps_per_window:   optimiser steps that learn from them
    num_prompts:        prompts of an epoch
    total_steps:        of the run; epochs is infinity where max_steps ends it
    accumulation:       micro-batches a step
    """

    prompts_per_window: int
    steps_per_window: int
    num_prompts: int
    total_steps: int
    epochs: float
    accumulation: int

    @property
    def num_windows(self) -> int:
        """Windows of the whole run; the last may be cut short by max_steps."""
        return math.ceil(self.total_steps / self.steps_per_window)

    @property
    def prompts_per_step(self) -> float:
        """Prompts used up by a step, on average over a window."""
        return self.prompts_per_window / self.steps_per_window

    @property
    def step_plan(self) -> StepPlan:
        """The same for the display and for what is due when."""
        return StepPlan(
            num_rows=self.num_prompts,
            accumulation=self.accumulation,
            epochs=self.epochs,
            steps_per_epoch=math.ceil(self.num_prompts / self.prompts_per_step),
            rows_per_step=self.prompts_per_step,
            total_steps=self.total_steps,
            exact=True,
            counted=True,
        )

    def ends_window(self, step: int) -> bool:
        """Whether the answers in hand are used up after `step` steps: what a run can be resumed from exactly."""
        return step % self.steps_per_window == 0 or step >= self.total_steps

    def place(self, step: int) -> Place:
        """Where the run is after `step` steps."""
        before, after = ((step - 1) * self.prompts_per_step, step * self.prompts_per_step)
        ends_epoch = step > 0 and math.floor(before / self.num_prompts) < math.floor(after / self.num_prompts)
        epoch = math.floor(after / self.num_prompts) - ends_epoch
        return Place(
            step=step,
            epoch=epoch,
            rows=self.num_prompts if ends_epoch else math.floor(after - epoch * self.num_prompts),
            ends_epoch=ends_epoch,
        )


def plan_drawing(settings: Settings, *, num_prompts: int) -> DrawingPlan:
    """The plan for `num_train_epochs` (fractions allowed) or, above 0, `max_steps`.

    The settings' checks have seen to it that windows are made of whole groups of answers and of whole steps.
    """
    training, grpo = settings.training, settings.grpo
    accumulation = training.gradient_accumulation_steps
    micro_batches = grpo.steps_per_generation or accumulation
    prompts_per_window = training.per_device_train_batch_size * micro_batches // grpo.num_generations
    steps_per_window = micro_batches // accumulation * grpo.grpo_num_iterations
    windows = math.ceil(training.num_train_epochs * num_prompts / prompts_per_window)
    by_steps = training.max_steps > 0
    return DrawingPlan(
        prompts_per_window=prompts_per_window,
        steps_per_window=steps_per_window,
        num_prompts=num_prompts,
        total_steps=training.max_steps if by_steps else windows * steps_per_window,
        epochs=math.inf if by_steps else training.num_train_epochs,
        accumulation=accumulation,
    )


def list_prompts(plan: DrawingPlan, numbers_of_epoch: Callable[[int], Sequence[int]]) -> list[int]:
    """The prompts of the whole run in their order, by their numbers: epoch after epoch, in full windows."""
    endless = (number for epoch in count() for number in numbers_of_epoch(epoch))
    return list(islice(endless, plan.num_windows * plan.prompts_per_window))
