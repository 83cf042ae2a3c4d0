"""A run brought back to a checkpoint, and proven to be there.

Weights, optimiser, schedule and scaler come from whichever format the checkpoint is in; then the run's own fingerprint
is taken and compared with the checkpoint's, so that a damaged file is found and not trained on.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from tunesmith.errors import ModelError, RunError
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.train.checkpoint.fingerprint import Fingerprint
from tunesmith.train.checkpoint.formats import hold, open_part
from tunesmith.train.checkpoint.held import WEIGHT, Key
from tunesmith.train.checkpoint.schedule_state import put_schedule, take_schedule
from tunesmith.train.checkpoint.take import take_fingerprint
from tunesmith.train.checkpoint.whole import copy_part, stored_weights
from tunesmith.train.parallel.together import raise_first
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.step import Stepper

_UNREADABLE = (
    *(OSError, EOFError, SafetensorError, ModelError, pickle.UnpicklingError, zipfile.BadZipFile),
    *(RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError),
)
"""What reading a damaged file may raise: the formats check little themselves."""


def restore(
    folder: Path, stepper: Stepper, *, pace: Pace | None = None, fingerprint: Fingerprint | None = None
) -> None:
    """Bring weights, optimiser, schedule and scaler to the checkpoint; what the settings say of them stays as it is.
    For all processes together.

    pace:        what the schedule goes by, where not by steps
    fingerprint: the checkpoint's, which must come out of the run too; None where it has none

    Raises RunError where they do not fit or are damaged.
    """
    problem: RunError | None = None
    try:
        with _explained(folder):
            part = open_part(folder, stepper)
            hold(stepper).restore(part)
            put_schedule(part.schedule, stepper, pace)
    except RunError as error:
        problem = error
    raise_first(stepper.parallel, problem)
    if fingerprint is not None:
        now = take_fingerprint(hold(stepper), take_schedule(stepper, pace), stepper.parallel)
        raise_first(stepper.parallel, _difference(folder, fingerprint, now))


def restore_weights(folder: Path, model: nn.Module) -> None:
    """Load what trains from a checkpoint of whole weights. Raises RunError where it does not fit or is damaged."""
    with _explained(folder):
        kept = stored_weights(folder, model)
        current = changing_tensors(model)
        if current.keys() != kept.keys():
            differing = sorted(current.keys() ^ kept.keys())
            raise RunError(f"other weights train now than in the checkpoint: {', '.join(differing[:5])} …")
        with torch.no_grad():
            for name, tensor in kept.items():
                if current[name].shape != tensor.shape:
                    raise RunError(
                        f"{name} is {tuple(tensor.shape)} in the checkpoint, now {tuple(current[name].shape)}"
                    )
                copy_part(tensor, current[name].detach())


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise RunError(f"the checkpoint {folder} does not fit this run, or is damaged: {error}") from error


def _difference(folder: Path, kept: Fingerprint, now: Fingerprint) -> RunError | None:
    """None where the run is what the checkpoint's fingerprint says."""
    differing = sorted(
        text for text in kept.tensors.keys() | now.tensors.keys() if kept.tensors.get(text) != now.tensors.get(text)
    )
    keys = [Key.parse(text) for text in differing]
    named = {
        "weights": [key.name for key in keys if key.state == WEIGHT],
        "optimiser": [f"{key.state} of {key.name}" for key in keys if key.state != WEIGHT],
        "schedule": [] if kept.schedule == now.schedule else ["its count of steps"],
    }
    found = [f"{what} ({', '.join(names[:3])}{', …' * (len(names) > 3)})" for what, names in named.items() if names]
    if not found:
        return None
    return RunError(
        f"the checkpoint {folder} is damaged: what was read is not what was written in its {' and '.join(found)}. "
        f"Resume from an earlier one: resume_from_checkpoint: {folder.parent}/step-N"
    )
