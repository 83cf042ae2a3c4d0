"""A checkpoint that is still to be written: everything it will be written of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tunesmith.train.checkpoint.formats import TrainerPart, hold, take_part
from tunesmith.train.checkpoint.progress import Progress
from tunesmith.train.checkpoint.schedule_state import take_schedule
from tunesmith.train.checkpoint.take import State, take_fingerprint, take_model
from tunesmith.train.steps.feed import FedStep
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.step import Stepper

WriteModel = Callable[[Path, State | None], None]
"""Writes model or adapter with its tokenizer into a folder: of the weights given, or as they are in the run."""


@dataclass(frozen=True, slots=True)
class Draft:
    """`model`: what the model is written of, None for the run's own weights. `part`, `progress`: None with
    save_only_model.
    """

    write_model: WriteModel
    model: State | None
    part: TrainerPart | None
    progress: Progress | None


def take_draft(
    stepper: Stepper,
    progress: Progress | None,
    *,
    write_model: WriteModel,
    pace: Pace | None = None,
    following: FedStep | None = None,
    copied: bool = False,
) -> Draft:
    """Take everything of a run between two steps. For all processes together.

    progress:  without its fingerprint, which is added; None for the model alone
    pace:      what the schedule goes by, where not by steps
    following: what the next step takes here
    copied:    whether the run goes on before all is written
    """
    model = take_model(stepper, copied=copied)
    if progress is None:
        return Draft(write_model, model, None, None)
    schedule = take_schedule(stepper, pace)
    fingerprint = take_fingerprint(hold(stepper), schedule, stepper.parallel, following=following)
    part = take_part(stepper, schedule, model, copied=copied)
    return Draft(write_model, model, part, replace(copy.deepcopy(progress), fingerprint=fingerprint))
