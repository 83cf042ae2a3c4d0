"""Cross-entropy of a linear head, value and gradients chunk by chunk, as one autograd function.

For logits z = softcap · tanh(scale · (h·Wᵀ + b) / softcap) and targets y, the sum of logsumexp(z) - z_y; its gradient
with respect to the raw logits is (softmax(z) - onehot(y)) · (1 - (z/softcap)²) · scale. Both are made while a chunk's
logits are at hand, so that they never exist for all tokens (arXiv 2410.10989 describes the idea).
Shapes: N tokens, C tokens of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tunesmith.models.head import LogitTransform


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How many tokens' logits may exist at a time, what is done to them, and whether gradients are wanted at all."""

    chunk_tokens: int
    transform: LogitTransform
    with_gradient: bool


def chunked_cross_entropy(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, options: ChunkOptions
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies, () float32 (float64 for float64 input), and how many argmaxes hit, () int64."""
    loss_sum, num_correct = _ChunkedCrossEntropy.apply(hidden_NH, weight_VH, bias_V, targets_N, options)
    return loss_sum, num_correct


class _Gradients:
    """Buffers the chunks add their gradients to; None where nothing asks for one."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, needed: Sequence[bool]) -> None:
        dtype = math_dtype(weight.dtype)  # sums over many chunks lose too much in low precision
        self.hidden = torch.empty_like(hidden, dtype=product_dtype(hidden)) if needed[0] else None
        self.weight = torch.zeros_like(weight, dtype=dtype) if needed[1] else None
        self.bias = torch.zeros_like(bias, dtype=dtype) if needed[2] and bias is not None else None

    def add(self, rows: slice, hidden_CH: Tensor, weight_VH: Tensor, grad_CV: Tensor) -> None:
        """Take in one chunk: `grad_CV` is the gradient of the raw logits."""
        if self.bias is not None:
            self.bias += grad_CV.sum(0)
        product = grad_CV.to(hidden_CH.dtype)
        if self.hidden is not None:
            torch.mm(product, weight_VH, out=self.hidden[rows])
        if self.weight is not None and self.weight.dtype == product.dtype:
            self.weight.addmm_(product.T, hidden_CH)
        elif self.weight is not None:
            self.weight += product.T @ hidden_CH


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: ChunkOptions
    ) -> tuple[Tensor, Tensor]:
        needed = [options.with_gradient and need for need in ctx.needs_input_grad[:3]]
        gradients = _Gradients(hidden, weight, bias, needed)
        product, math = product_dtype(hidden), math_dtype(hidden.dtype)
        loss_sum = torch.zeros((), dtype=math, device=hidden.device)
        num_correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            weight_VH = weight.to(product)
            bias_V = None if bias is None else bias.to(product)
            for start in range(0, len(hidden), options.chunk_tokens):
                rows = slice(start, start + options.chunk_tokens)
                hidden_CH = hidden[rows].to(product)
                raw_CV = torch.nn.functional.linear(hidden_CH, weight_VH, bias_V).to(math)
                loss, correct, grad_CV = _chunk(raw_CV, targets[rows], options.transform, any(needed))
                loss_sum += loss
                num_correct += correct
                if grad_CV is not None:
                    gradients.add(rows, hidden_CH, weight_VH, grad_CV)
        ctx.save_for_backward(gradients.hidden, gradients.weight, gradients.bias)
        ctx.dtypes = (hidden.dtype, weight.dtype)
        ctx.mark_non_differentiable(num_correct)
        return loss_sum, num_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_dtype, weight_dtype = ctx.dtypes
        hidden, weight, bias = ctx.saved_tensors
        return (
            None if hidden is None else (hidden * grad_loss).to(hidden_dtype),
            None if weight is None else weight.mul_(grad_loss).to(weight_dtype),  # in place: as large as the head
            None if bias is None else (bias * grad_loss).to(weight_dtype),
            None,
            None,
        )


def _chunk(
    raw_CV: Tensor, targets_C: Tensor, transform: LogitTransform, with_gradient: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Loss sum, hits and gradient of the raw logits of one chunk; writes over the logits."""
    logits = transform(raw_CV)
    log_sums = logits.logsumexp(-1)
    loss = (log_sums - logits.gather(-1, targets_C[:, None])[:, 0]).sum()
    correct = (logits.argmax(-1) == targets_C).sum()
    if not with_gradient:
        return loss, correct, None
    slope = None if transform.softcap is None else (logits / transform.softcap).square_().neg_().add_(1.0)
    grad = logits.sub_(log_sums[:, None]).exp_()
    grad[torch.arange(len(targets_C), device=grad.device), targets_C] -= 1.0
    if slope is not None:
        grad *= slope
    if transform.scale != 1.0:
        grad *= transform.scale
    return loss, correct, grad


def math_dtype(dtype: torch.dtype) -> torch.dtype:
    """What logits are summed and exponentiated in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product_dtype(hidden: Tensor) -> torch.dtype:
    """What hidden states and weight are multiplied in: autocast's type, or the hidden states' own.

    float32 in place of float16, where the gradient of a softmax over a large vocabulary underflows before any
    scaler sees it.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    return torch.float32 if dtype == torch.float16 else dtype
