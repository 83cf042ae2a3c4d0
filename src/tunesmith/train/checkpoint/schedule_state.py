"""How far learning rate schedule and gradient scaler have come: small, in plain types, the same in every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.step import Stepper

_OF_GROUPS = ("base_lrs", "lr_lambdas")
"""What torch's schedule keeps for each group of weights."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """pace: what the schedule goes by where not by steps. The others are torch's own, of scheduler and scaler."""

    pace: float
    scheduler: Mapping[str, Any]
    scaler: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def comparable(self) -> dict[str, Any]:
        """What a resumed run must have in common: how far it has come, not the rates, which may be set anew."""
        return {"pace": self.pace, "steps": self.scheduler["last_epoch"], "scaler": dict(self.scaler)}


def take_schedule(stepper: Stepper, pace: Pace | None) -> ScheduleState:
    """Of a run between two steps."""
    reached = 0.0 if pace is None else pace.reached
    return ScheduleState(reached, dict(stepper.scheduler.state_dict()), dict(stepper.scaler.state_dict()))


def put_schedule(kept: ScheduleState, stepper: Stepper, pace: Pace | None) -> None:
    """Into a run; what its settings say of rates stays as it is."""
    if pace is not None:
        pace.ahead = kept.pace
    _restore_scheduler(stepper.scheduler, kept.scheduler, stepper.optimizer)
    stepper.scaler.load_state_dict(dict(kept.scaler))


def _restore_scheduler(schedule: LambdaLR, kept: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Only how far it has come is the checkpoint's: rates follow from this run's settings and groups of weights."""
    own = schedule.state_dict()
    schedule.load_state_dict({**kept, **{key: own[key] for key in _OF_GROUPS}})
    rates = zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
    for group, rate, share in rates:
        group["lr"] = rate * share(schedule.last_epoch)
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
