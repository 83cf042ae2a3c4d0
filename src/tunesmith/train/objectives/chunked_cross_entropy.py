"""Cross-entropy of a linear head that trains, value and gradients chunk by chunk, as one autograd function.

Both are made while a chunk's logits are at hand, so that they never exist for all tokens (arXiv 2410.10989 describes
the idea): every token has the same weight in the sum, so the gradient is known before the backward pass asks for it.
Shapes: N tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tunesmith.train.objectives.linear_head import (
    ChunkOptions,
    ChunkSoftmax,
    HeadGradients,
    ProductHead,
    math_dtype,
    product_dtype,
)


def chunked_cross_entropy(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, options: ChunkOptions
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies, () float32 (float64 for float64 input), and how many argmaxes hit, () int64."""
    loss_sum, num_correct = _ChunkedCrossEntropy.apply(hidden_NH, weight_VH, bias_V, targets_N, options)
    return loss_sum, num_correct


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: ChunkOptions
    ) -> tuple[Tensor, Tensor]:
        needed = [options.with_gradient and need for need in ctx.needs_input_grad[:3]]
        head = ProductHead.of(weight, bias, transform=options.transform, dtype=product_dtype(hidden))
        gradients = HeadGradients(hidden, head, needed)
        loss_sum = torch.zeros((), dtype=math_dtype(hidden.dtype), device=hidden.device)
        num_correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in options.chunks(len(hidden)):
                softmax = ChunkSoftmax(hidden[rows], targets[rows], head)
                loss_sum -= softmax.log_probabilities().sum()
                num_correct += softmax.num_correct()
                if any(needed):
                    gradients.add(rows, hidden[rows], softmax.take_gradient())
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
