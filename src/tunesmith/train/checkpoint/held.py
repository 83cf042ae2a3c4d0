"""What training changes, by name, wherever an engine keeps it: the weights that train and the optimiser's state.

An engine's own cuts stay in here. To the rest of this package everything is a `Key` and either a `Piece` of the tensor
(what this process has of it) or the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from tunesmith.errors import RunError
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.train.steps.step import Stepper

WEIGHT = "weight"
"""The state that is the weight itself."""


class Key(NamedTuple):
    """state: WEIGHT, or what the optimiser calls it (exp_avg, …). name: of the weight in the model."""

    state: str
    name: str

    def __str__(self) -> str:
        return f"{self.state}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """The inverse of str."""
        state, _, name = text.partition("/")
        return cls(state, name)


@dataclass(frozen=True, slots=True)
class Piece:
    """The numbers of a tensor that this process has: a run of them in the tensor's own order.

    start:  numbers of the tensor before them
    shape:  of the whole tensor
    counts: whether this process answers for them; of equal copies only one does
    """

    values: Tensor
    start: int
    shape: torch.Size
    counts: bool = True


class Stored(Protocol):
    """What a checkpoint holds of all this, whoever wrote it."""

    @property
    def entries(self) -> Mapping[Key, Tensor | float]:
        """Shape and format of every tensor (on the meta device), and the numbers that the optimiser keeps a weight."""

    def fill(self, targets: Mapping[Key, Tensor]) -> None:
        """Copy what is stored under each key into the target, a whole tensor or this process's part of one (DTensor).

        Raises RunError, OSError, ValueError or KeyError where it is absent or damaged.
        """


class Held(Protocol):
    """What a run holds of all this."""

    @property
    def is_cut(self) -> bool:
        """Whether the pieces of all processes together make one; else each process has everything."""

    def pieces(self) -> Iterator[tuple[Key, Piece]]:
        """Every tensor, in the same order in every process. For all processes together."""

    def numbers(self) -> dict[Key, float]:
        """What the optimiser keeps as a single number a weight: its count of steps."""

    def restore(self, stored: Stored) -> None:
        """Take over what is stored. For all processes together. Raises RunError where it does not fit."""


@dataclass(frozen=True, slots=True)
class TorchHeld:
    """In a model and torch's optimiser: whole tensors, or FSDP2's DTensors.

    rank: of this process
    """

    model: nn.Module
    optimizer: Optimizer
    rank: int = 0

    @property
    def is_cut(self) -> bool:
        """See Held."""
        return any(isinstance(tensor, DTensor) for tensor in changing_tensors(self.model).values())

    def tensors(self) -> dict[Key, Tensor]:
        """The tensors themselves, single numbers left out."""
        tensors = {Key(WEIGHT, name): tensor.detach() for name, tensor in changing_tensors(self.model).items()}
        return tensors | {key: value for key, value in self._states() if isinstance(value, Tensor) and value.dim()}

    def pieces(self) -> Iterator[tuple[Key, Piece]]:
        """See Held."""
        is_cut = self.is_cut
        for key, tensor in self.tensors().items():
            yield key, _piece(tensor, counts=not is_cut or isinstance(tensor, DTensor) or self.rank == 0)

    def numbers(self) -> dict[Key, float]:
        """See Held."""
        return {key: _number(value) for key, value in self._states() if _is_number(value)}

    def restore(self, stored: Stored) -> None:
        """See Held."""
        targets = self._weights_like(stored)
        state: dict[int, dict[str, Any]] = {}
        for key, (index, parameter) in self._state_places(stored).items():
            entry = stored.entries[key]
            made = _like(parameter, entry) if isinstance(entry, Tensor) else entry
            state.setdefault(index, {})[key.state] = made
            if isinstance(made, Tensor):
                targets[key] = made
        with torch.no_grad():
            stored.fill(targets)
        groups = self.optimizer.state_dict()["param_groups"]  # rates and the like stay this run's
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _weights_like(self, stored: Stored) -> dict[Key, Tensor]:
        current = {Key(WEIGHT, name): tensor.detach() for name, tensor in changing_tensors(self.model).items()}
        require_same_weights(current, stored)
        return current

    def _state_places(self, stored: Stored) -> dict[Key, tuple[int, Tensor]]:
        """Where each stored state belongs: the weight's number in the optimiser, and the weight."""
        names = _names(self.model)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        place_of = {names[id(parameter)]: (index, parameter) for index, parameter in enumerate(parameters)}
        keys = [key for key in stored.entries if key.state != WEIGHT]
        if foreign := sorted({key.name for key in keys} - place_of.keys()):
            raise RunError(f"the optimiser has other weights now than in the checkpoint: {', '.join(foreign[:5])} …")
        return {key: place_of[key.name] for key in keys}

    def _states(self) -> Iterator[tuple[Key, Any]]:
        names = _names(self.model)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                for state, value in self.optimizer.state.get(parameter, {}).items():
                    yield Key(state, names[id(parameter)]), value


def cut_again(stepper: Stepper) -> None:
    """Let go of what FSDP2 has put together for an evaluation: every weight is what its optimiser knows again."""
    for module in () if stepper.forward.root is None else stepper.forward.root.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def require_same_weights(current: Mapping[Key, Tensor], stored: Stored) -> None:
    """Raise RunError where other weights train now than are stored, or weights of other shapes."""
    kept = {key: entry for key, entry in stored.entries.items() if key.state == WEIGHT and isinstance(entry, Tensor)}
    if current.keys() != kept.keys():
        differing = sorted(key.name for key in current.keys() ^ kept.keys())
        raise RunError(f"other weights train now than in the checkpoint: {', '.join(differing[:5])} …")
    for key, tensor in current.items():
        if tensor.shape != kept[key].shape:
            raise RunError(f"{key.name} is {tuple(kept[key].shape)} in the checkpoint, {tuple(tensor.shape)} now")


def _names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def _piece(tensor: Tensor, *, counts: bool) -> Piece:
    if not isinstance(tensor, DTensor):
        return Piece(tensor, 0, tensor.shape, counts)
    local, start = local_rows(tensor)
    row = tensor.numel() // tensor.shape[0] if tensor.shape[0] else 0
    return Piece(local, start * row, tensor.shape, counts)


def local_rows(tensor: DTensor) -> tuple[Tensor, int]:
    """This process's part of a tensor that is cut along its first dimension, and the first row of it."""
    local = tensor.to_local()
    if local.shape[1:] != tensor.shape[1:]:
        raise RunError(f"a weight of {tuple(tensor.shape)} is cut along another dimension than its first")
    placement = tensor.placements[0]
    if not placement.is_shard():
        return local, 0
    rows = -(-tensor.shape[0] // tensor.device_mesh.size(0))  # torch.chunk's: all but the last alike
    return local, min(tensor.device_mesh.get_local_rank(0) * rows, tensor.shape[0])


def _like(parameter: Tensor, entry: Tensor) -> Tensor:
    """Memory for a stored tensor: cut as its weight is where it has the weight's shape, else whole."""
    if isinstance(parameter, DTensor) and parameter.shape == entry.shape:
        return torch.zeros_like(parameter, dtype=entry.dtype, requires_grad=False)
    device = parameter.device if entry.dim() else "cpu"
    return torch.empty(entry.shape, dtype=entry.dtype, device=device)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and not value.dim())


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, Tensor) else value)
