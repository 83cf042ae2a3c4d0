"""The format of engines with a whole model in every process: what one of them writes, and how it is read again.

trainer/optimizer.pt           torch's optimiser, schedule and scaler; `names`: the weights in the optimiser's order
trainer/weights.safetensors    of an adapter what trains, bit for bit

A whole model is restored from its Hugging Face layout, which is written in the widest format of its weights and so
rounds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.models.load import load_config, read_pretrained
from tunesmith.train.checkpoint.held import WEIGHT, Key, local_rows
from tunesmith.train.checkpoint.progress import TRAINER
from tunesmith.train.checkpoint.schedule_state import ScheduleState

OPTIMIZER, WEIGHTS = "optimizer.pt", "weights.safetensors"


def write_weights(weights: Mapping[str, Tensor], trainer: Path) -> None:
    """What trains of an adapter, by name."""
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, trainer / WEIGHTS)


def write_adapter_weights(model: nn.Module, trainer: Path) -> None:
    """What trains of an adapter as it is now; nothing of a whole model."""
    if isinstance(model, PeftModel):
        write_weights(changing_tensors(model), trainer)


def write_optimizer(state: Mapping[str, Any], names: Sequence[str], schedule: ScheduleState, trainer: Path) -> None:
    """`state`: what the optimiser's state_dict gives; `names`: of its weights in order."""
    content = {
        "pace": schedule.pace,
        "optimizer": dict(state),
        "scheduler": dict(schedule.scheduler),
        "scaler": dict(schedule.scaler),
        "names": list(names),
    }
    torch.save(content, trainer / OPTIMIZER)


def names_in_order(model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of an optimiser's weights, in the order in which its state_dict numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in groups for parameter in group["params"]]


class WholeStored:
    """See Stored. `model`: whose weights are wanted; `names`: of the optimiser's weights, for files without them."""

    def __init__(self, folder: Path, model: nn.Module, names: Sequence[str]) -> None:
        kept: dict[str, Any] = torch.load(
            folder / TRAINER / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True
        )
        self.schedule = ScheduleState(float(kept["pace"]), kept["scheduler"], kept["scaler"])
        self._weights = stored_weights(folder, model)
        self._states = dict(_by_name(kept["optimizer"], kept.get("names", names)))
        self.entries = _shapes(self._weights, self._states)

    def fill(self, targets: Mapping[Key, Tensor]) -> None:
        """See Stored."""
        for key, target in targets.items():
            whole = self._weights[key.name] if key.state == WEIGHT else self._states[key]
            assert isinstance(whole, Tensor), "plain numbers are no targets"
            copy_part(whole, target)


def stored_weights(folder: Path, model: nn.Module) -> dict[str, Tensor]:
    """What trains of `model`, from a checkpoint's files, by name."""
    if isinstance(model, PeftModel):
        with safe_open(folder / TRAINER / WEIGHTS, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  an open file, not a dict
    saved = read_pretrained(folder, load_config(folder), dtype=None, device="cpu")
    everything = dict(saved.named_parameters()) | dict(saved.named_buffers())
    return {name: everything[name].detach() for name in changing_tensors(model)}


def copy_part(whole: Tensor, target: Tensor) -> None:
    """Copy a whole tensor into `target`, or of it what this process has there."""
    if not isinstance(target, DTensor):
        target.copy_(whole)
        return
    local, row = local_rows(target)
    local.copy_(whole[row : row + local.shape[0]])


def _by_name(optimizer: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[Key, Tensor | float]]:
    numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
    if len(numbers) != len(names):
        raise ValueError("the optimiser has other groups of weights now")
    name_of = dict(zip(numbers, names, strict=True))
    for number, states in optimizer["state"].items():
        for state, value in states.items():
            yield Key(state, name_of[number]), value


def _shapes(weights: Mapping[str, Tensor], states: Mapping[Key, Tensor | float]) -> dict[Key, Tensor | float]:
    entries: dict[Key, Tensor | float] = {Key(WEIGHT, name): tensor.to("meta") for name, tensor in weights.items()}
    return entries | {key: value.to("meta") if isinstance(value, Tensor) else value for key, value in states.items()}
