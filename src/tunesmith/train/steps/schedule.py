"""The learning rate over the steps, by transformers' names of schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import SchedulerType
from transformers.optimization import get_scheduler

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import NotSupportedYetError, UsageError

_NEED_METRICS = {"reduce_lr_on_plateau", "greedy"}


@dataclass(slots=True)
class Pace:
    """How far a run is in its plan where the number of steps is only estimated: what its schedule goes by.

    ahead:   steps of the plan that are passed once the step under way is finished; set before that step
    reached: what the rate in force was taken at
    """

    ahead: float = 0.0
    reached: float = 0.0


def build_scheduler(
    optimizer: Optimizer, training: TrainingSettings, *, total_steps: int, pace: Pace | None = None
) -> LambdaLR:
    """The schedule `lr_scheduler_type` with its warm-up, by the number of steps or, where given, by `pace`.

    Raises UsageError for an unknown name or argument.
    """
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
    if pace is not None:
        # transformers' schedules are arithmetic in the step, so a fraction of one is as good
        shares: Sequence[Callable[..., float]] = scheduler.lr_lambdas
        scheduler.lr_lambdas = [_at(pace, share) for share in shares]
    return scheduler


def num_warmup_steps(training: TrainingSettings, *, total_steps: int) -> int:
    """`warmup_steps` (below 1: a share of all), or where that is 0 `warmup_ratio` of all, rounded up."""
    if training.warmup_steps >= 1:
        return int(training.warmup_steps)
    return math.ceil((training.warmup_steps or training.warmup_ratio) * total_steps)


def _at(pace: Pace, share: Callable[..., float]) -> Callable[[int], float]:
    """`share` of the learning rate where the pace is, whatever number of steps the scheduler has counted."""

    def share_now(step: int) -> float:  # noqa: ARG001  the scheduler's own count, which is what the pace replaces
        pace.reached = pace.ahead
        return share(pace.ahead)

    return share_now
