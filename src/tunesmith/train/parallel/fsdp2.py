"""Weights, gradients and optimiser cut over the processes: PyTorch's FSDP2 (`fully_shard`).

Each process owns a part of every weight. A decoder layer is gathered while it runs, forward and backward, and its
gradients are summed and cut again as soon as its backward is done; what belongs to no layer is gathered once a
micro-batch. Sums are made in float32. What numbers are multiplied in is autocast's business, as with one process, so
the engine changes no result; only where whole layers train are the weights of their linear layers already gathered in
autocast's format, which is what autocast would make of them.

Knows nothing of batches or files. What is gathered together is `fsdp2_units`' to say, how the weights come into the
processes `sharded_loading`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers.optimization import Adafactor

from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.precision import choose_precision
from tunesmith.train.objectives.root import Root
from tunesmith.train.parallel.ddp import Replicas
from tunesmith.train.parallel.fsdp2_gradients import clip_parts, give_zero_gradients, keep_graph
from tunesmith.train.parallel.fsdp2_units import (
    embedding_of,
    layer_units,
    left_whole,
    linear_weights,
    may_be_left_out,
    owners_of_trained,
    share_that_trains,
    trained_format,
    trains_beside_text,
    unpack_4bit,
)
from tunesmith.train.parallel.gradients import fill_missing, sum_in_buckets
from tunesmith.train.parallel.group import Group
from tunesmith.train.parallel.parallel import EngineName, Loaded
from tunesmith.train.parallel.sharded_loading import Delivery, load_on_first

_FEW_TRAIN = 0.05
"""Share of all weights up to which the trained ones' gradients wait, uncut, for a step's last micro-batch: that saves
messages and costs little memory."""


class Gathered(nn.Module):
    """Root, in the module that FSDP2 takes for the whole: a call without a batch gathers its weights and does nothing
    else."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, batch: Any = None, **options: Any) -> Any:
        """What Root's forward returns; None without a batch."""
        return None if batch is None else self.inner(batch, **options)


class FullyShardedParallel(Replicas):
    """See Parallel: what differs from whole models in every process."""

    name: EngineName = "fsdp2"
    lockstep = True

    def __init__(self, group: Group, settings: Settings) -> None:
        super().__init__(group)
        self._settings = settings
        self._mesh = init_device_mesh(group.device.type, (group.num_processes,))
        self._gathered: Any = None
        self._sums_last = False

    def load(self, build: Callable[[], Loaded]) -> Loaded:
        """The model, whose weights the first process alone has until `cut`; quantised ones are read by each."""
        return build() if self._is_quantized else load_on_first(build, self)

    def cut(self, root: nn.Module) -> None:
        """Bring every unit of the model into the processes and cut it there, one after the other."""
        assert isinstance(root, Root)
        model, gathered = root.model, Gathered(root)
        if self._is_quantized and not self._settings.tuning.use_dora:  # DoRA reads packed weights by itself
            unpack_4bit(model)
        self._sums_last = share_that_trains(model) <= _FEW_TRAIN
        trained, units = trained_format(model), layer_units(model)
        _reach_all(gathered, model, units)
        delivery = None if self._is_quantized else Delivery(gathered, self.group)
        for module in (*units, gathered):
            if delivery is not None:
                delivery.bring(module)
            self._cut_unit(module, trained=trained, is_layer=module is not gathered)
        self._gathered = gathered

    def _cut_unit(self, unit: nn.Module, *, trained: torch.dtype | None, is_layer: bool) -> None:
        parallel, pins = self._settings.parallel, self.group.device.type == "cuda"
        sharded = fully_shard(
            unit,
            mesh=self._mesh,
            # what belongs to no layer is needed from a forward's beginning to its backward's end
            reshard_after_forward=parallel.reshard_after_forward and is_layer,
            mp_policy=_precision(unit, trained, self._gathered_format if is_layer else None),
            offload_policy=CPUOffloadPolicy(pin_memory=pins) if parallel.cpu_offload else OffloadPolicy(),
            ignored_params=left_whole(unit, trained=trained),
        )
        unit.register_forward_hook(_cut_again)
        sharded.set_gradient_divide_factor(1.0)  # gradients are sums
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other

    @property
    def _gathered_format(self) -> torch.dtype | None:
        """What linear layers are gathered in where all of a layer trains; None: as they are."""
        return None if self._settings.tuning.finetuning_type == "lora" else choose_precision(self._settings).autocast

    def attach(self, root: nn.Module, optimizer: Optimizer, *, max_grad_norm: float) -> nn.Module:  # noqa: ARG002
        """The module that gathers what `root` needs."""
        _refuse_whole_weights_only(optimizer)
        gathered: nn.Module = self._gathered
        return gathered

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Gradients are summed and cut layer by layer, while the layers before it still run."""
        self._gathered.set_requires_gradient_sync(last or not self._sums_last)
        super().backward(loss, last=last)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Those of what is cut are sums already."""
        parameters = list(parameters)
        fill_missing(parameters)
        whole = [parameter.grad for parameter in parameters if not isinstance(parameter, DTensor)]
        sum_in_buckets([gradient for gradient in whole if gradient is not None], self.group.add_up)

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
        """By the norm over all parts."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return clip_parts(gradients, self.group.add_up, max_norm=max_norm).to(self.group.device)

    @contextmanager
    def whole(self, root: nn.Module) -> Iterator[None]:  # noqa: ARG002  there is one
        """Embeddings, head and towers are whole inside; layers are gathered as they run. Without gradients only."""
        with torch.no_grad():
            self._gathered()
        self._gathered.unshard()
        try:
            yield
        finally:
            self._gathered.reshard()

    @property
    def _is_quantized(self) -> bool:
        return self._settings.model.quantization_bit is not None


def _cut_again(unit: Any, _: object, __: object) -> None:
    """FSDP2 may leave a unit gathered for a backward to come; where none comes, who asks for a weight must find its
    part."""
    if not torch.is_grad_enabled():
        unit.reshard()


def _reach_all(gathered: Gathered, model: nn.Module, units: Sequence[nn.Module]) -> None:
    """See to it that the graph of every process reaches the same weights, whatever its micro-batch runs."""
    if trains_beside_text(model):
        keep_graph(embedding_of(model))
    for unit in units:
        give_zero_gradients(unit, may_be_left_out(unit))
    give_zero_gradients(gathered, owners_of_trained(gathered, but=units))


def _precision(unit: nn.Module, trained: torch.dtype | None, gathered: torch.dtype | None) -> MixedPrecisionPolicy:
    """Sums in float32 or finer; linear layers gathered in `gathered` where this PyTorch can tell weights apart."""
    summed = None if trained == torch.float64 else torch.float32
    if gathered is None or not any(field.name == "param_dtype_override_fn" for field in fields(MixedPrecisionPolicy)):
        return MixedPrecisionPolicy(reduce_dtype=summed)
    linear = linear_weights(unit)

    def keep_others(parameter: nn.Parameter) -> torch.dtype | None:
        return None if parameter in linear else parameter.dtype

    return MixedPrecisionPolicy(
        param_dtype=gathered, reduce_dtype=summed, cast_forward_inputs=False, param_dtype_override_fn=keep_others
    )


def _refuse_whole_weights_only(optimizer: Optimizer) -> None:
    """bitsandbytes' optimisers work on memory that they are pointed at, Adafactor on rows and columns."""
    if type(optimizer).__module__.startswith("bitsandbytes") or isinstance(optimizer, Adafactor):
        raise UsageError(
            f"optim: {type(optimizer).__name__} works on whole weights, and fsdp2 cuts them; use optim: adamw_torch, "
            "whose state is cut too, or parallel: ddp"
        )
