"""What a checkpoint is written of, taken between two steps: as the run has it, or as copies in the host's memory, so
that the run may go on while it is written.

Copies take as much memory as training changes: what does not train is the run's own, which nobody changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.train.checkpoint.bits import as_text, sum_bits
from tunesmith.train.checkpoint.fingerprint import Fingerprint, digest_of
from tunesmith.train.checkpoint.held import Held, Key, TorchHeld, cut_again
from tunesmith.train.checkpoint.next_step import describe_step
from tunesmith.train.checkpoint.schedule_state import ScheduleState
from tunesmith.train.checkpoint.whole import names_in_order
from tunesmith.train.parallel.deepspeed_weights import is_zero_weight, whole_of
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.feed import FedStep
from tunesmith.train.steps.step import Stepper

State = Mapping[str, Tensor]
"""A model's state_dict."""


@dataclass(frozen=True, slots=True)
class WholeOptimizer:
    """state: torch's state_dict of it; names: its weights in order."""

    state: Mapping[str, Any]
    names: Sequence[str]


def take_model(stepper: Stepper, *, copied: bool) -> State | None:
    """The state_dict that model or adapter is written of, None for the model's own. For all processes together.

    What is cut is put together weight by weight, and only the first process keeps it.
    """
    model, is_first = stepper.forward.model, stepper.parallel.rank == 0
    cut_again(stepper)
    changing = {id(tensor) for tensor in changing_tensors(model).values()}
    is_cut = any(isinstance(parameter, DTensor) or is_zero_weight(parameter) for parameter in model.parameters())
    if not copied and not is_cut:
        return None
    taken: dict[int, Tensor] = {}
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    for tensor in state.values():
        wanted = id(tensor) in changing or (is_cut and not isinstance(model, PeftModel))
        if isinstance(tensor, Tensor) and wanted and id(tensor) not in taken:
            taken[id(tensor)] = _on_host(tensor, copied=copied, keeps=is_first)
    return {name: taken.get(id(tensor), _detached(tensor)) for name, tensor in state.items()}


def take_optimizer(held: TorchHeld, *, copied: bool) -> WholeOptimizer:
    """An optimiser of whole tensors."""
    state: Mapping[str, Any] = held.optimizer.state_dict()
    names = names_in_order(held.model, held.optimizer.param_groups)
    return WholeOptimizer(_copied(state) if copied else state, names)


def take_fingerprint(
    held: Held, schedule: ScheduleState, parallel: Parallel, *, following: FedStep | None = None
) -> Fingerprint:
    """Of a run between two steps. For all processes together.

    following: what the next step takes here
    """
    sums: dict[Key, Tensor] = {}
    for key, piece in held.pieces():
        sums[key] = sum_bits(piece.values, start=piece.start).cpu() * int(piece.counts)
    total = torch.stack(list(sums.values())) if sums else torch.zeros(0, dtype=torch.int64)
    if held.is_cut:
        total = parallel.sum(total)
    numbers = {str(key): float(value) for key, value in held.numbers().items()}
    return Fingerprint(
        tensors={str(key): as_text(value) for key, value in zip(sums, total.tolist(), strict=True)},
        schedule=digest_of({"schedule": schedule.comparable(), "numbers": numbers}),
        engine=parallel.name,
        num_processes=parallel.num_processes,
        next_step=describe_step(parallel, following),
    )


def copy_cut(tensors: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """Copies in the host's memory, cut in the same way."""
    return {key: _copy_of(tensor) for key, tensor in tensors.items()}


def _copy_of(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, DTensor):
        return tensor.detach().to("cpu", copy=True)
    mesh = tensor.device_mesh if tensor.device_mesh.device_type == "cpu" else _same_on_cpu(tensor.device_mesh)
    local = tensor.to_local().detach().to("cpu", copy=True)
    return DTensor.from_local(
        local, mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


@cache
def _same_on_cpu(mesh: DeviceMesh) -> DeviceMesh:
    return init_device_mesh("cpu", tuple(mesh.shape))


def _on_host(tensor: Tensor, *, copied: bool, keeps: bool) -> Tensor:
    detached = tensor.detach()
    if isinstance(detached, DTensor):
        whole = detached.full_tensor()
    elif isinstance(tensor, nn.Parameter) and is_zero_weight(tensor):
        whole = whole_of(tensor)
    else:
        return detached.to("cpu", copy=True) if copied else detached
    return whole.to("cpu") if keeps else torch.empty_like(whole, device="meta")


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _copied(content: Any) -> Any:
    """Plain containers with copies of all tensors in the host's memory."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, Mapping):
        return {key: _copied(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_copied(value) for value in content)
    return content
