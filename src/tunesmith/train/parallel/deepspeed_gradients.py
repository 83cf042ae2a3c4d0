"""A step's gradients in ZeRO's buffers: finished after the last micro-batch, measured, and forgotten.

DeepSpeed takes what it finds in its buffers for this step's gradients, also where a weight got none and the numbers are
of an earlier step. So the buffers are emptied before every step, and what it would finish only in a micro-batch that it
believes to be the last is finished here. Knows nothing of weights.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from tunesmith.train.parallel.deepspeed_library import submodule


class GradientBuffers(Protocol):
    """The gradients of one engine."""

    def clear(self) -> None:
        """Forget all gradients, also of a backward that broke off."""

    def finish(self, *, ran: bool) -> None:
        """After the last micro-batch: sums over the processes, as the update will find them. `ran`: whether any
        backward was run. For all processes together."""

    def norm(self) -> Tensor:
        """Of all gradients, () float32, infinity where one is not finite. For all processes together."""


def gradient_buffers(engine: Any, *, stage: int, num_processes: int) -> GradientBuffers:
    """Those of `engine`."""
    if stage == 3:
        return _CutWithWeights(engine, num_processes)
    return _CutGradients(engine) if stage == 2 else _WholeGradients(engine)


class _Buffers:
    """What all stages have in common."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._optimizer = engine.optimizer

    def norm(self) -> Tensor:
        """See GradientBuffers."""
        scaled = torch.as_tensor(self._scaled_norm(), dtype=torch.float32)
        norm = scaled / self._optimizer.loss_scale
        return torch.where(scaled < 0, torch.full_like(norm, torch.inf), norm)

    def _scaled_norm(self) -> Tensor:
        return self._optimizer.scaled_global_norm()  # type: ignore[no-any-return]

    def _leave_backward(self) -> None:
        """A backward that broke off is still counted."""
        while self._optimizer._backward_active_depth:
            self._optimizer.exit_backward()


class _CutGradients(_Buffers):
    """ZeRO-2: every micro-batch's gradients are summed over the processes and cut in its backward."""

    def clear(self) -> None:
        """See GradientBuffers."""
        optimizer = self._optimizer
        self._leave_backward()
        optimizer.zero_grad(set_to_none=True)
        optimizer._release_ipg_buffers()
        for bucket in optimizer.ipg_buckets.values():
            bucket.clear()
        for number in range(len(optimizer.params_already_reduced)):
            optimizer.params_already_reduced[number] = False
        for number in range(len(optimizer.bit16_groups)):
            optimizer.averaged_gradients[number] = None
            optimizer.all_grad_tensors[number] = None
        optimizer.micro_step_id = submodule("runtime.zero.stage_1_and_2").INITIAL_MICRO_STEP_ID
        if optimizer.cpu_offload:
            self._clear_host()

    def _clear_host(self) -> None:
        optimizer = self._optimizer
        optimizer.reset_cpu_buffers()
        for part in optimizer.single_partition_of_fp32_groups:
            part.grad.zero_()
        for gradient in optimizer.accumulated_grads_in_cpu.values():
            gradient.zero_()

    def finish(self, *, ran: bool) -> None:
        """See GradientBuffers."""
        if not ran:
            self._optimizer.overlapping_partition_gradients_reduce_epilogue()
        self._optimizer.finalize_gradient_accumulation_boundary()


class _WholeGradients(_CutGradients):
    """ZeRO-1: gradients stay with the weights until the step's end, so processes need not run in step."""

    def finish(self, *, ran: bool) -> None:  # noqa: ARG002  they are summed here or nowhere
        """In the order of the parameters, those without a gradient too."""
        optimizer = self._optimizer
        for group in optimizer.bit16_groups:
            for parameter in group:
                _fill(parameter, optimizer)
        optimizer.set_gradient_accumulation_boundary(True)
        optimizer.setup_buckets()
        optimizer.reduce_gradients()


class _CutWithWeights(_Buffers):
    """ZeRO-3: means over the processes, cut in every backward; they become sums here."""

    def __init__(self, engine: Any, num_processes: int) -> None:
        super().__init__(engine)
        self._num_processes = num_processes

    def clear(self) -> None:
        """See GradientBuffers."""
        optimizer = self._optimizer
        self._leave_backward()
        optimizer.zero_grad(set_to_none=True)
        for bucket in optimizer.ipg_buckets.values():
            bucket.clear_params()
        for number in optimizer.params_already_reduced:
            optimizer.params_already_reduced[number] = False
        optimizer.grad_partitions_flat_buffer.zero_()
        optimizer.averaged_gradients = {}
        if optimizer.offload_optimizer:
            optimizer.reset_cpu_buffers()
            for part in optimizer.fp32_partitioned_groups_flat:
                part.grad.zero_()

    def finish(self, *, ran: bool) -> None:
        """See GradientBuffers."""
        if not ran:
            self._optimizer.overlapping_partition_gradients_reduce_epilogue()
        self._optimizer.grad_partitions_flat_buffer.mul_(self._num_processes)
        self._optimizer.finalize_gradient_accumulation_boundary()

    def _scaled_norm(self) -> Tensor:
        combine = submodule("runtime.utils").combine_grad_norm_groups
        return combine(self._optimizer._get_norm_groups())  # type: ignore[no-any-return]


def _fill(parameter: Any, optimizer: Any) -> None:
    """Zeros for a weight that got no gradient, where DeepSpeed looks for it."""
    if optimizer.get_gradient_for_reduction(parameter) is not None:
        return
    zeros = torch.zeros_like(parameter, dtype=optimizer.gradient_accumulation_dtype)
    if optimizer.use_grad_accum_attribute:
        parameter.grad_accum = zeros
    else:
        parameter.grad = zeros.to(parameter.dtype)
