"""Cross-entropy of a linear head that does not train: value and gradient in one pass over blocks of the vocabulary.

Sum and weighted mean of the softmax are kept as the blocks go by and rescaled where a larger logit turns up (the online
softmax of arXiv 1805.02867), so that a block's logits are used up while they are in the processor's cache: a third
less time than by whole chunks on a CPU with a vocabulary of 152,000.
Shapes: C tokens of a chunk, H hidden size, V vocabulary, K tokens of a block of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from tunesmith.models.head import LogitTransform
from tunesmith.train.objectives.chunked_cross_entropy import ChunkOptions, math_dtype, product_dtype

_BLOCK_TOKENS = 4096


def frozen_cross_entropy(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, targets_N: Tensor, *, options: ChunkOptions
) -> tuple[Tensor, Tensor]:
    """What `chunked_cross_entropy` returns; weight and bias get no gradient."""
    bias = None if bias_V is None else bias_V.detach()
    loss_sum, num_correct = _FrozenCrossEntropy.apply(hidden_NH, weight_VH.detach(), bias, targets_N, options)
    return loss_sum, num_correct


class _FrozenCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: ChunkOptions
    ) -> tuple[Tensor, Tensor]:
        wants_gradient = options.with_gradient and ctx.needs_input_grad[0]
        product, math = product_dtype(hidden), math_dtype(hidden.dtype)
        gradient = torch.empty_like(hidden, dtype=math) if wants_gradient else None
        loss_sum = torch.zeros((), dtype=math, device=hidden.device)
        num_correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            head = _Head(weight.to(product), None if bias is None else bias.to(product), options.transform)
            for start in range(0, len(hidden), options.chunk_tokens):
                rows = slice(start, start + options.chunk_tokens)
                softmax = _OnlineSoftmax(hidden[rows].to(product), targets[rows], head, wants_mean=wants_gradient)
                loss_sum += softmax.loss()
                num_correct += softmax.num_correct()
                if gradient is not None:
                    gradient[rows] = softmax.gradient()
        ctx.save_for_backward(gradient)
        ctx.dtype = hidden.dtype
        ctx.mark_non_differentiable(num_correct)
        return loss_sum, num_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else (gradient * grad_loss).to(ctx.dtype), None, None, None, None)


@dataclass(frozen=True, slots=True)
class _Head:
    """weight: (V, H) and bias: (V,) in the format of the products."""

    weight: Tensor
    bias: Tensor | None
    transform: LogitTransform

    def logits(self, hidden_CH: Tensor, block: slice) -> Tensor:
        """(C, K) in the format that sums are made in."""
        bias = None if self.bias is None else self.bias[block]
        raw = linear(hidden_CH, self.weight[block], bias)
        return self.transform(raw.to(math_dtype(raw.dtype)))

    def slope(self, logits: Tensor) -> Tensor | None:
        """The soft-cap's derivative at these logits; None without a soft-cap."""
        softcap = self.transform.softcap
        return None if softcap is None else (logits / softcap).square_().neg_().add_(1.0)


class _OnlineSoftmax:
    """The softmax of one chunk's logits, of which only (C,) and (C, H) sums are kept."""

    def __init__(self, hidden_CH: Tensor, targets_C: Tensor, head: _Head, *, wants_mean: bool) -> None:
        math = math_dtype(hidden_CH.dtype)
        self._hidden_CH, self._targets_C, self._head = hidden_CH, targets_C, head
        self._largest_C = torch.full_like(targets_C, -torch.inf, dtype=math)
        self._total_C = torch.zeros_like(self._largest_C)
        self._target_logits_C = torch.zeros_like(self._largest_C)
        self._mean_CH = torch.zeros_like(hidden_CH, dtype=math) if wants_mean else None
        for first in range(0, len(head.weight), _BLOCK_TOKENS):
            self._add(slice(first, min(first + _BLOCK_TOKENS, len(head.weight))))

    def loss(self) -> Tensor:
        """() sum of logsumexp(z) - z_y."""
        return (self._largest_C + self._total_C.log() - self._target_logits_C).sum()

    def num_correct(self) -> Tensor:
        """() of the targets, how many have the largest logit."""
        return (self._target_logits_C >= self._largest_C).sum()

    def gradient(self) -> Tensor:
        """(C, H): the rows of the weight weighed by the softmax, less the target's row."""
        assert self._mean_CH is not None
        own_CH = self._head.weight[self._targets_C].to(self._mean_CH.dtype)
        slope_C = self._head.slope(self._target_logits_C)
        if slope_C is not None:
            own_CH = own_CH * slope_C[:, None]
        return (self._mean_CH / self._total_C[:, None] - own_CH).mul_(self._head.transform.scale)

    def _add(self, block: slice) -> None:
        logits_CK = self._head.logits(self._hidden_CH, block)
        self._find_targets(logits_CK, block)
        slope_CK = self._head.slope(logits_CK)
        largest_C = torch.maximum(self._largest_C, logits_CK.amax(-1))
        shrink_C = (self._largest_C - largest_C).exp_()
        shares_CK = logits_CK.sub_(largest_C[:, None]).exp_()
        self._largest_C = largest_C
        self._total_C = self._total_C.mul_(shrink_C).add_(shares_CK.sum(-1))
        if self._mean_CH is not None:
            shares_CK = shares_CK if slope_CK is None else shares_CK.mul_(slope_CK)
            self._mean_CH.mul_(shrink_C[:, None])
            self._add_to_mean(shares_CK.to(self._hidden_CH.dtype), self._head.weight[block])

    def _add_to_mean(self, shares_CK: Tensor, weight_KH: Tensor) -> None:
        assert self._mean_CH is not None
        if self._mean_CH.dtype == shares_CK.dtype:
            self._mean_CH.addmm_(shares_CK, weight_KH)
        else:
            self._mean_CH += shares_CK @ weight_KH

    def _find_targets(self, logits_CK: Tensor, block: slice) -> None:
        """Keep the targets' own logits, of those that lie in this block."""
        places_C = self._targets_C - block.start
        inside_C = (places_C >= 0) & (places_C < logits_CK.shape[1])
        found_C = logits_CK.gather(-1, places_C.clamp(0, logits_CK.shape[1] - 1)[:, None])[:, 0]
        self._target_logits_C = torch.where(inside_C, found_C, self._target_logits_C)
