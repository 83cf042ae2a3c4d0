"""The learning rate over the steps, by transformers' names of schedules."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import SchedulerType
from transformers.optimization import get_scheduler

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import NotSupportedYetError, UsageError

_NEED_METRICS = {"reduce_lr_on_plateau", "greedy"}


def build_scheduler(optimizer: Optimizer, training: TrainingSettings, *, total_steps: int) -> LambdaLR:
    """The schedule `lr_scheduler_type` with its warm-up. Raises UsageError for an unknown name or argument."""
    name = training.lr_scheduler_type
    known = [kind.value for kind in SchedulerType if kind.value not in _NEED_METRICS]
    if name in _NEED_METRICS:
        raise NotSupportedYetError(f"lr_scheduler_type: {name} is not supported yet; choose one of {', '.join(known)}")
    if name not in known:
        raise UsageError(f"lr_scheduler_type: {name} is not a schedule; choose one of {', '.join(known)}")
    try:
        scheduler: LambdaLR = get_scheduler(
            name,
            optimizer,
            num_warmup_steps=num_warmup_steps(training, total_steps=total_steps),
            num_training_steps=total_steps,
            scheduler_specific_kwargs=dict(training.lr_scheduler_kwargs),
        )
    except (TypeError, ValueError) as error:
        given = training.lr_scheduler_kwargs
        raise UsageError(f"lr_scheduler_type: {name} does not go with lr_scheduler_kwargs: {given}: {error}") from error
    return scheduler


def num_warmup_steps(training: TrainingSettings, *, total_steps: int) -> int:
    """`warmup_steps` (below 1: a share of all), or where that is 0 `warmup_ratio` of all, rounded up."""
    if training.warmup_steps >= 1:
        return int(training.warmup_steps)
    return math.ceil((training.warmup_steps or training.warmup_ratio) * total_steps)
