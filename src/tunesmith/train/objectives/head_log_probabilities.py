"""Log-probabilities of tokens by a linear head, chunk by chunk, with the derivative of each token's own weight.

A head that does not train: what a token's log-probability changes with its hidden state, (N, H), is worked out beside
the value and kept, so that the backward pass is one product. A head that trains: the backward pass makes each chunk's
logits again, because how much a token counts is only known then.
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
from tunesmith.train.objectives.online_softmax import OnlineSoftmax


def frozen_head_log_probabilities(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, options: ChunkOptions
) -> tuple[Tensor, Tensor]:
    """(N,) float32 (float64 for float64 input), and how many argmaxes hit, () int64.

    Weight and bias get no gradient.
    """
    bias = None if bias_V is None else bias_V.detach()
    log_probs, num_correct = _FrozenHead.apply(hidden_NH, weight_VH.detach(), bias, targets_N, options)
    return log_probs, num_correct


def trained_head_log_probabilities(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, options: ChunkOptions
) -> Tensor:
    """(N,) float32 (float64 for float64 input), with gradients of hidden states, weight and bias."""
    log_probs: Tensor = _TrainedHead.apply(hidden_NH, weight_VH, bias_V, targets_N, options)
    return log_probs


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: ChunkOptions
    ) -> tuple[Tensor, Tensor]:
        wants_gradient = options.with_gradient and ctx.needs_input_grad[0]
        head = ProductHead.of(weight, bias, transform=options.transform, dtype=product_dtype(hidden))
        math = math_dtype(hidden.dtype)
        gradient = torch.empty_like(hidden, dtype=math) if wants_gradient else None
        log_probs = torch.empty(len(hidden), dtype=math, device=hidden.device)
        num_correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in options.chunks(len(hidden)):
                chunk = hidden[rows].to(head.weight.dtype)
                softmax = OnlineSoftmax(chunk, targets[rows], head, wants_gradient=wants_gradient)
                log_probs[rows] = softmax.log_probabilities()
                num_correct += softmax.num_correct()
                if gradient is not None:
                    gradient[rows] = softmax.gradient()
        ctx.save_for_backward(gradient)
        ctx.dtype = hidden.dtype
        ctx.mark_non_differentiable(num_correct)
        return log_probs, num_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else (gradient * grad_N[:, None]).to(ctx.dtype), None, None, None, None)


class _TrainedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: ChunkOptions
    ) -> Tensor:
        ctx.product, ctx.options = product_dtype(hidden), options
        head = ProductHead.of(weight, bias, transform=options.transform, dtype=ctx.product)
        log_probs = torch.empty(len(hidden), dtype=math_dtype(hidden.dtype), device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in options.chunks(len(hidden)):
                log_probs[rows] = ChunkSoftmax(hidden[rows], targets[rows], head).log_probabilities()
        ctx.save_for_backward(hidden, weight, bias, targets)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        head = ProductHead.of(weight, bias, transform=ctx.options.transform, dtype=ctx.product)
        gradients = HeadGradients(hidden, head, ctx.needs_input_grad[:3])
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in ctx.options.chunks(len(hidden)):
                grad_CV = ChunkSoftmax(hidden[rows], targets[rows], head).take_gradient()
                gradients.add(rows, hidden[rows], grad_CV.mul_(-grad_N[rows, None]))
        return (
            None if gradients.hidden is None else gradients.hidden.to(hidden.dtype),
            None if gradients.weight is None else gradients.weight.to(weight.dtype),
            None if gradients.bias is None else gradients.bias.to(weight.dtype),
            None,
            None,
        )
