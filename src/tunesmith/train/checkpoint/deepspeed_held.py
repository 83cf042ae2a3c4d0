"""What ZeRO holds of a run, by name: every process's run of each float32 master and of its optimiser state.

ZeRO-1 and 2 lay the weights of a group end to end and give each process a stretch of that, so a weight may lie in one
process or in several; ZeRO-3 cuts each weight by itself. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.train.checkpoint.held import WEIGHT, Key, Piece, Stored, require_same_weights
from tunesmith.train.checkpoint.pieces import PiecesStored
from tunesmith.train.parallel.deepspeed_weights import shape_of


@dataclass(frozen=True, slots=True)
class Stretch:
    """This process's run of one weight.

    flat:   the float32 master that the optimiser knows, weights end to end
    offset: where the run begins in it; start: where in the weight; size: numbers
    """

    flat: Tensor
    offset: int
    start: int
    size: int

    def of(self, tensor: Tensor) -> Tensor:
        """The run, of the master or of a state that lies like it."""
        return tensor.detach().narrow(0, self.offset, self.size)


@dataclass(frozen=True, slots=True)
class ZeroHeld:
    """See Held. `engine`: DeepSpeed's, with `stage` of ZeRO; `model`: whose names count."""

    engine: Any
    model: nn.Module
    stage: int
    rank: int

    @property
    def is_cut(self) -> bool:
        """See Held."""
        return True

    def pieces(self) -> Iterator[tuple[Key, Piece]]:
        """See Held."""
        for name, (parameter, stretch) in self._stretches().items():
            shape = shape_of(parameter)
            yield Key(WEIGHT, name), Piece(stretch.of(stretch.flat), stretch.start, shape)
            for state, tensor in self._states_of(stretch.flat).items():
                yield Key(state, name), Piece(stretch.of(tensor), stretch.start, shape)
        for key, tensor in self._buffers().items():
            yield key, Piece(tensor, 0, tensor.shape, counts=self.rank == 0)

    def numbers(self) -> dict[Key, float]:
        """See Held."""
        return {
            Key(state, name): float(value)
            for name, (_, stretch) in self._stretches().items()
            for state, value in self._torch_state(stretch.flat).items()
            if _is_number(value)
        }

    def restore(self, stored: Stored) -> None:
        """See Held. What another engine wrote is read weight by weight, whole, and of that the run is kept."""
        stretches = self._stretches()
        shapes = {Key(WEIGHT, name): _shape_alone(parameter) for name, (parameter, _) in stretches.items()}
        require_same_weights(shapes | self._buffers(), stored)
        self._make_states(stored, stretches)
        if self.stage == 3:
            self._optimizer.checkpoint_event_prologue()
        with torch.no_grad():
            stored.fill(self._buffers())
            self._fill(stored, stretches)
        self._hand_on()

    def _fill(self, stored: Stored, stretches: Mapping[str, tuple[nn.Parameter, Stretch]]) -> None:
        for name, (parameter, stretch) in stretches.items():
            targets = {WEIGHT: stretch.flat, **self._states_of(stretch.flat)}
            for state, tensor in targets.items():
                key, run = Key(state, name), stretch.of(tensor)
                if isinstance(stored, PiecesStored):
                    stored.fill_run(key, run, start=stretch.start)
                    continue
                whole = torch.empty(shape_of(parameter), dtype=tensor.dtype)
                stored.fill({key: whole})
                run.copy_(whole.flatten()[stretch.start : stretch.start + stretch.size])

    def _make_states(self, stored: Stored, stretches: Mapping[str, tuple[nn.Parameter, Stretch]]) -> None:
        """What the optimiser keeps for every flat master, its numbers as they are stored."""
        names: dict[int, tuple[Tensor, str]] = {}
        for name, (_, stretch) in stretches.items():
            names.setdefault(id(stretch.flat), (stretch.flat, name))
        states = sorted({key.state for key in stored.entries} - {WEIGHT})
        for flat, name in names.values():
            made = {state: _state_like(flat, Key(state, name), stored) for state in states}
            if any(value is not None for value in made.values()):
                self._optimizer.optimizer.state[flat] = {key: value for key, value in made.items() if value is not None}

    def _hand_on(self) -> None:
        """From the masters to the weights that the model runs with. For all processes together."""
        optimizer = self._optimizer
        if self.stage < 3:
            optimizer._hp_optimizer_states_linked = False
            optimizer.update_lp_params()
            return
        for number in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(number)
        optimizer.checkpoint_event_epilogue()

    def _stretches(self) -> dict[str, tuple[nn.Parameter, Stretch]]:
        find = self._stretch_of_cut if self.stage == 3 else self._stretch_of_group
        return {
            name: (parameter, find(parameter))
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def _stretch_of_cut(self, parameter: nn.Parameter) -> Stretch:
        """ZeRO-3: equal parts, the last ones padded or empty."""
        optimizer, held = self._optimizer, vars(parameter)
        group, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = min(held["ds_zero_partition_rank"] * size, held["ds_numel"])
        return Stretch(
            optimizer.fp32_partitioned_groups_flat[group], offset, start, min(size, held["ds_numel"] - start)
        )

    def _stretch_of_group(self, parameter: nn.Parameter) -> Stretch:
        """ZeRO-1 and 2: nothing of a weight that lies in other processes."""
        optimizer, held = self._optimizer, vars(parameter)
        group = next(
            number for number, members in enumerate(optimizer.bit16_groups) if any(parameter is one for one in members)
        )
        flat = optimizer.single_partition_of_fp32_groups[group]
        mapping = held.get("_hp_mapping")
        if mapping is None:
            return Stretch(flat, 0, 0, 0)
        inside, own = mapping.hp_fragment_address, mapping.lp_fragment_address
        return Stretch(flat, inside.start, own.start, own.numel)

    def _states_of(self, flat: Tensor) -> dict[str, Tensor]:
        """What the optimiser keeps that lies like the master."""
        return {
            state: value
            for state, value in self._torch_state(flat).items()
            if isinstance(value, Tensor) and value.shape == flat.shape
        }

    def _torch_state(self, flat: Tensor) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._optimizer.optimizer.state.get(flat, {})
        return state

    def _buffers(self) -> dict[Key, Tensor]:
        """What training changes beside the weights that train; the same in every process."""
        trained = dict(self.model.named_parameters())
        changing = changing_tensors(self.model)
        return {Key(WEIGHT, name): tensor for name, tensor in changing.items() if name not in trained}

    @property
    def _optimizer(self) -> Any:
        return self.engine.optimizer


def _state_like(flat: Tensor, key: Key, stored: Stored) -> Tensor | None:
    """Memory for one state of a flat master, or its number; None where it is not stored."""
    entry = stored.entries.get(key)
    if isinstance(entry, Tensor) and entry.dim():
        return torch.zeros_like(flat, dtype=entry.dtype, requires_grad=False)
    if isinstance(entry, Tensor):
        number = torch.empty((), dtype=entry.dtype)
        stored.fill({key: number})
        return number
    return None if entry is None else torch.tensor(float(entry))


def _shape_alone(parameter: nn.Parameter) -> Tensor:
    return torch.empty(shape_of(parameter), device="meta")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and not value.dim())
