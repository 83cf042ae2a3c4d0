"""DeepSpeed's ZeRO: optimiser (1), gradients too (2), weights too (3) cut over the processes.

DeepSpeed keeps, sums, clips and updates; what a step is made of, its rates and its loss stay ours. Where 16 bits are
asked for, the weights that the model runs with are in that format, and float32 masters beside them are what trains.

How gradients lie in its buffers is `deepspeed_gradients`' to know, how weights are cut `deepspeed_weights`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.parts import core_model, find_parts
from tunesmith.models.precision import choose_precision
from tunesmith.train.objectives.root import Root
from tunesmith.train.parallel.autocast_inside import autocast_inside
from tunesmith.train.parallel.ddp import Replicas
from tunesmith.train.parallel.deepspeed_config import engine_config, plan_of, sixteen_bits
from tunesmith.train.parallel.deepspeed_gradients import GradientBuffers, gradient_buffers
from tunesmith.train.parallel.deepspeed_library import import_deepspeed, leave_deepspeed, quiet_deepspeed
from tunesmith.train.parallel.deepspeed_scaler import ZeroScaler
from tunesmith.train.parallel.deepspeed_towers import reads_in_portions, weights_of_towers
from tunesmith.train.parallel.deepspeed_weights import cut_one_by_one, held, hold, linear_of_torch
from tunesmith.train.parallel.group import Group
from tunesmith.train.parallel.parallel import EngineName, Loaded
from tunesmith.train.parallel.sharded_loading import load_on_first


class DeepSpeedParallel(Replicas):
    """See Parallel: what differs from whole models in every process."""

    name: EngineName = "deepspeed"

    def __init__(self, group: Group, settings: Settings) -> None:
        super().__init__(group)
        self._settings = settings
        self._plan = plan_of(settings)
        if group.device.type == "cpu" and sixteen_bits(settings) == torch.float16:
            raise UsageError("fp16: deepspeed has no float16 on the CPU; use bf16, or leave both out")
        self._library = import_deepspeed(group)
        self.lockstep = self.same_media = self._plan.stage > 1
        self.engine: Any = None
        self._gradients: GradientBuffers | None = None
        self._held: list[nn.Parameter] = []
        self._ran = False
        self._leaving = ExitStack()
        self._leaving.callback(leave_deepspeed)

    def load(self, build: Callable[[], Loaded]) -> Loaded:
        """The model; with ZeRO-3 the first process alone has its weights until `cut`."""
        return load_on_first(build, self) if self._cuts_weights else super().load(build)

    def cut(self, root: nn.Module) -> None:
        """ZeRO-3 cuts every weight as soon as it is in the processes; the others cut in `attach`."""
        assert isinstance(root, Root)
        if self._cuts_weights:
            config = engine_config(self._settings, root.model, num_processes=self.num_processes)
            self._leaving.enter_context(linear_of_torch())
            with quiet_deepspeed():
                cut_one_by_one(self._library, root, self.group, dtype=sixteen_bits(self._settings), config=config)

    def attach(self, root: nn.Module, optimizer: Optimizer, *, max_grad_norm: float) -> nn.Module:
        """DeepSpeed's engine around `root` and the optimiser, which goes on with its own parts of the weights."""
        assert isinstance(root, Root)
        config = engine_config(
            self._settings, root.model, num_processes=self.num_processes, max_grad_norm=max_grad_norm
        )
        autocast_inside(root, choose_precision(self._settings).autocast, self.group.device)
        if self._plan.offload_optimizer and isinstance(optimizer, AdamW):
            _compute_in_one_go(optimizer)
        with quiet_deepspeed():
            self.engine, *_ = self._library.initialize(model=root, optimizer=optimizer, config=config)
        self._leaving.callback(self.engine.destroy)
        self.engine.set_gradient_accumulation_boundary(False)
        self._gradients = gradient_buffers(self.engine, stage=self._plan.stage, num_processes=self.num_processes)
        if self._cuts_weights and reads_in_portions(root.model):
            self._held = weights_of_towers(root.model)
            hold(self._held)
        called: nn.Module = self.engine
        return called

    def backward(self, loss: Tensor, *, last: bool) -> None:  # noqa: ARG002  every micro-batch is alike
        """ZeRO-2 and 3 sum and cut in every backward, ZeRO-1 at the step's end."""
        if loss.requires_grad:
            self._ran = True
            self.engine.backward(loss, scale_wrt_gas=False)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:  # noqa: ARG002  DeepSpeed has them
        """What is left to sum, cut or copy to the host."""
        self._buffers.finish(ran=self._ran)

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:  # noqa: ARG002  see attach
        """Only the norm: `update` clips."""
        return self._buffers.norm().to(self.group.device)

    def scaler(self, device: torch.device, *, enabled: bool) -> torch.amp.GradScaler:
        """DeepSpeed's own loss scale."""
        return ZeroScaler(self.engine.optimizer.loss_scaler) if enabled else super().scaler(device, enabled=False)

    def update(self, optimizer: Optimizer, scaler: torch.amp.GradScaler) -> None:  # noqa: ARG002  the engine has both
        """DeepSpeed's step, with its own loss scaling."""
        self.engine.set_gradient_accumulation_boundary(True)
        try:
            self.engine.step()
        finally:
            self.engine.set_gradient_accumulation_boundary(False)
        hold(self._held)

    def clear_gradients(self, optimizer: Optimizer) -> None:  # noqa: ARG002  DeepSpeed has them
        """Empty buffers."""
        self._ran = False
        self._buffers.clear()

    @contextmanager
    def whole(self, root: nn.Module) -> Iterator[None]:  # noqa: ARG002  there is one
        """With ZeRO-3 what belongs to no decoder layer is whole inside; layers are gathered as they run."""
        if not self._cuts_weights:
            yield
            return
        with held(_outside_layers(self.engine.module)):
            yield

    def close(self) -> None:
        """See Parallel; nothing of DeepSpeed stays behind."""
        self._leaving.close()
        super().close()

    @property
    def stage(self) -> int:
        """Of ZeRO."""
        return self._plan.stage

    @property
    def _cuts_weights(self) -> bool:
        return self.stage == 3

    @property
    def _buffers(self) -> GradientBuffers:
        assert self._gradients is not None, "attach comes first"
        return self._gradients


def _outside_layers(root: Root) -> list[nn.Parameter]:
    layers = core_model(root.model).get_submodule(find_parts(root.model).layers)
    inside = {id(parameter) for parameter in layers.parameters()}
    return [parameter for parameter in root.parameters() if id(parameter) not in inside]


def _compute_in_one_go(optimizer: AdamW) -> None:
    """In the host's memory torch's fused kernel takes one pass over the numbers; it needs no compiler."""
    for group in optimizer.param_groups:
        group |= {"fused": True, "foreach": False}
