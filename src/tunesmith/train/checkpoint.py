"""Checkpoints: the model as others read it, and beside it what an exact continuation needs.

checkpoints/step-N/            the adapter or model with its tokenizer, in PEFT's or Hugging Face's layout
checkpoints/step-N/trainer/    progress.json, optimizer.pt; for adapters weights.safetensors, what trains bit for bit;
                               absent with save_only_model

A whole model is restored from its Hugging Face layout, which is written in the widest format of its weights and so
rounds nothing. Random states are not kept: every step seeds anew from seed and step (`randomness`).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunesmith.errors import RunError
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.models.load import load_config, read_pretrained
from tunesmith.train.folder.atomic import write_text, writing_folder
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper

TRAINER = "trainer"
"""Name of the trainer's part of a checkpoint."""
_PROGRESS, _WEIGHTS, _OPTIMIZER = "progress.json", "weights.safetensors", "optimizer.pt"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint holds beside weights and optimiser.

    state:    place and counters
    identity: what a resumed run must have in common with this one
    settings: flat, for telling what else changed
    report:   the state of the data report
    """

    state: TrainState
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    report: Mapping[str, Any]


def write_checkpoint(
    folder: Path,
    *,
    write_model: Callable[[Path], None],
    stepper: Stepper | None,
    progress: Progress,
    pace: Pace | None = None,
) -> None:
    """Write `folder` whole or not at all. `stepper` None leaves the trainer's part out (save_only_model).

    Raises RunError where the disk refuses; earlier checkpoints are not touched.
    """
    with writing_folder(folder) as draft:
        write_model(draft)
        if stepper is not None:
            trainer = draft / TRAINER
            trainer.mkdir()
            write_weights(stepper.forward.model, trainer)
            torch.save(_optimizer_state(stepper, pace), trainer / _OPTIMIZER)
            write_progress(progress, trainer)


def write_weights(model: nn.Module, trainer: Path) -> None:
    """Into a checkpoint's trainer part: of an adapter what trains, bit for bit; nothing of a whole model."""
    if isinstance(model, PeftModel):
        save_file(_changing_tensors(model), trainer / _WEIGHTS)


def write_progress(progress: Progress, trainer: Path) -> None:
    """Into a checkpoint's trainer part: the counters."""
    write_text(trainer / _PROGRESS, _dump(progress))


def read_progress(folder: Path) -> Progress:
    """The counters of a checkpoint. Raises RunError where `folder` is none, or none that can be resumed."""
    if not folder.is_dir():
        raise RunError(f"resume_from_checkpoint: {folder} is not a folder; give a checkpoint folder, or true")
    file = folder / TRAINER / _PROGRESS
    if not file.exists():
        raise RunError(
            f"resume_from_checkpoint: {folder} has no trainer state of Tunesmith (it was saved with save_only_model, "
            "or by another tool), so the run cannot go on from it. To start a new run from its weights, give it as "
            "adapter_name_or_path (an adapter) or model_name_or_path (a model)"
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    if "report" not in content:
        raise RunError(
            f"resume_from_checkpoint: {folder} was written by an earlier version of Tunesmith that ordered rows "
            "otherwise, so the run cannot go on exactly. Start a new run from its weights"
        )
    state = TrainState.from_json(content["state"])
    return Progress(state, content["identity"], content["settings"], content["report"])


def restore(folder: Path, stepper: Stepper, *, pace: Pace | None = None) -> None:
    """Load weights, optimiser, schedule and scaler; what the settings say of them stays as it is in `stepper`.

    pace: what the schedule goes by, where not by steps

    Raises RunError where they do not fit or are damaged.
    """
    trainer = folder / TRAINER
    try:
        _load_tensors(stepper.forward.model, _kept_tensors(folder, stepper.forward.model))
        kept = torch.load(trainer / _OPTIMIZER, map_location="cpu", weights_only=True)
        _restore_optimizer(stepper.optimizer, kept["optimizer"])
        if pace is not None:
            pace.ahead = kept["pace"]
        _restore_schedule(stepper.scheduler, kept["scheduler"], stepper.optimizer)
        stepper.scaler.load_state_dict(kept["scaler"])
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, KeyError, ValueError) as error:
        raise RunError(f"the checkpoint {folder} does not fit this run, or is damaged: {error}") from error


def restore_weights(folder: Path, model: nn.Module) -> None:
    """Load what trains from a checkpoint. Raises RunError where it does not fit or is damaged."""
    try:
        _load_tensors(model, _kept_tensors(folder, model))
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise RunError(f"the checkpoint {folder} does not fit this run, or is damaged: {error}") from error


def _restore_optimizer(optimizer: Optimizer, kept: Mapping[str, Any]) -> None:
    """Moments and counters are the checkpoint's; rates and the like stay this run's, which may have changed them."""
    own_groups = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in own_groups] != [group["params"] for group in kept["param_groups"]]:
        raise ValueError("the optimiser has other groups of weights now")
    optimizer.load_state_dict({"state": kept["state"], "param_groups": own_groups})


def _restore_schedule(schedule: LambdaLR, kept: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Only how far it has come is the checkpoint's: the rate of the next step follows from this run's settings."""
    own_rates = list(schedule.base_lrs)
    schedule.load_state_dict(dict(kept))
    schedule.base_lrs = own_rates
    for group, rate, share in zip(optimizer.param_groups, own_rates, schedule.lr_lambdas, strict=True):
        group["lr"] = rate * share(schedule.last_epoch)


def _kept_tensors(folder: Path, model: nn.Module) -> dict[str, Tensor]:
    if isinstance(model, PeftModel):
        return load_file(folder / TRAINER / _WEIGHTS)
    saved = read_pretrained(folder, load_config(folder), dtype=None, device="cpu")
    everything = dict(saved.named_parameters()) | dict(saved.named_buffers())
    return {name: everything[name] for name in _changing_tensors(model)}


def _changing_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in changing_tensors(model).items()}


def _load_tensors(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    current = _changing_tensors(model)
    if current.keys() != kept.keys():
        differing = sorted(current.keys() ^ kept.keys())
        raise RunError(f"other weights train now than in the checkpoint: {', '.join(differing[:5])} …")
    targets = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in kept.items():
            if targets[name].shape != tensor.shape:
                raise RunError(f"{name} is {tuple(tensor.shape)} in the checkpoint, {tuple(targets[name].shape)} now")
            targets[name].copy_(tensor)


def _optimizer_state(stepper: Stepper, pace: Pace | None) -> dict[str, Any]:
    return {
        "pace": 0.0 if pace is None else pace.reached,
        "optimizer": stepper.optimizer.state_dict(),
        "scheduler": stepper.scheduler.state_dict(),
        "scaler": stepper.scaler.state_dict(),
    }


def _dump(progress: Progress) -> str:
    content = {
        "state": progress.state.to_json(),
        "identity": dict(progress.identity),
        "settings": dict(progress.settings),
        "report": dict(progress.report),
    }
    return json.dumps(content, indent=1, ensure_ascii=False)
