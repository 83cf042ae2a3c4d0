"""The trainer's part of a checkpoint as each engine writes and reads it: one class a format.

whole       single, ddp: the first process writes everything
sharded     fsdp2: every process writes its part
pieces      deepspeed: every process writes its runs of numbers

Which one a folder is in shows in its files; any of them is read by any engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch.distributed as dist
from peft import PeftModel
from torch import Tensor, nn

from tunesmith.errors import RunError
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.train.checkpoint.deepspeed_held import ZeroHeld
from tunesmith.train.checkpoint.held import Held, Key, TorchHeld, cut_again
from tunesmith.train.checkpoint.pieces import PiecesPart, PiecesStored, copy_pieces, has_pieces
from tunesmith.train.checkpoint.progress import TRAINER
from tunesmith.train.checkpoint.schedule_state import ScheduleState
from tunesmith.train.checkpoint.sharded import ShardedStored, is_sharded, write_schedule, write_shards
from tunesmith.train.checkpoint.take import State, WholeOptimizer, copy_cut, take_optimizer
from tunesmith.train.checkpoint.whole import OPTIMIZER, WholeStored, names_in_order, write_optimizer, write_weights
from tunesmith.train.parallel.deepspeed import DeepSpeedParallel
from tunesmith.train.steps.step import Stepper


class TrainerPart(Protocol):
    """Weights that train and the optimiser's state, ready to be written."""

    @property
    def is_shared(self) -> bool:
        """Whether every process writes a part; else the first writes all."""

    def write(self, trainer: Path, group: dist.ProcessGroup | None) -> None:
        """Into the trainer's part of a checkpoint. For all processes of `group` together where it is shared."""


@dataclass(frozen=True, slots=True)
class WholePart:
    """weights: of an adapter; None where the model's own layout has them."""

    optimizer: WholeOptimizer
    schedule: ScheduleState
    weights: Mapping[str, Tensor] | None
    is_shared: bool = False

    def write(self, trainer: Path, group: dist.ProcessGroup | None) -> None:  # noqa: ARG002  one process writes
        """See TrainerPart."""
        if self.weights is not None:
            write_weights(self.weights, trainer)
        write_optimizer(self.optimizer.state, self.optimizer.names, self.schedule, trainer)


@dataclass(frozen=True, slots=True)
class ShardedPart:
    """tensors: this process's parts. numbers: what the optimiser keeps as plain numbers."""

    tensors: Mapping[Key, Tensor]
    numbers: Mapping[Key, float]
    schedule: ScheduleState
    is_first: bool
    is_shared: bool = True

    def write(self, trainer: Path, group: dist.ProcessGroup | None) -> None:
        """See TrainerPart."""
        write_shards(self.tensors, trainer, group=group)
        if self.is_first:
            write_schedule(self.schedule, self.numbers, trainer)


def hold(stepper: Stepper) -> Held:
    """What a run holds, whatever its engine."""
    return _hold_zero(stepper) or _hold_torch(stepper)


def _hold_zero(stepper: Stepper) -> ZeroHeld | None:
    parallel = stepper.parallel
    if not isinstance(parallel, DeepSpeedParallel):
        return None
    return ZeroHeld(parallel.engine, stepper.forward.model, parallel.stage, parallel.rank)


def _hold_torch(stepper: Stepper) -> TorchHeld:
    cut_again(stepper)
    return TorchHeld(stepper.forward.model, stepper.optimizer, stepper.parallel.rank)


def take_part(stepper: Stepper, schedule: ScheduleState, model: State | None, *, copied: bool) -> TrainerPart:
    """The trainer's part of a run between two steps. `model`: what its weights are written of, where taken."""
    if (zero := _hold_zero(stepper)) is not None:
        parallel, pieces = stepper.parallel, copy_pieces(zero.pieces(), copied=copied)
        return PiecesPart(pieces, zero.numbers(), schedule, parallel.rank, parallel.num_processes)
    held = _hold_torch(stepper)
    if held.is_cut:
        tensors = copy_cut(held.tensors()) if copied else held.tensors()
        return ShardedPart(tensors, held.numbers(), schedule, stepper.parallel.rank == 0)
    return WholePart(take_optimizer(held, copied=copied), schedule, _adapter(stepper.forward.model, model))


def open_part(folder: Path, stepper: Stepper) -> WholeStored | ShardedStored | PiecesStored:
    """What the checkpoint `folder` holds for a run. Raises RunError where its trainer's part is not whole."""
    if has_pieces(folder):
        return PiecesStored(folder)
    if is_sharded(folder):
        return ShardedStored(folder)
    if not (folder / TRAINER / OPTIMIZER).is_file():
        raise RunError(f"{folder / TRAINER} holds no optimiser state: neither {OPTIMIZER} nor sharded parts nor pieces")
    model = stepper.forward.model
    return WholeStored(folder, model, names_in_order(model, stepper.optimizer.param_groups))


def _adapter(model: nn.Module, state: State | None) -> Mapping[str, Tensor] | None:
    if not isinstance(model, PeftModel):
        return None
    return {name: tensor if state is None else state[name] for name, tensor in changing_tensors(model).items()}
