"""Arithmetic of a linear head on a few tokens at a time: in which formats, the softmax of a chunk, sums of gradients.

For logits z = softcap · tanh(scale · (h·Wᵀ + b) / softcap) and a target y, the derivative of log softmax(z)_y with
respect to the raw logits h·Wᵀ + b is (onehot(y) - softmax(z)) · (1 - (z/softcap)²) · scale.
Shapes: C tokens of a chunk, H hidden size, V vocabulary. Knows nothing of autograd or of losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from tunesmith.models.head import LogitTransform


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How many tokens' logits may exist at a time, what is done to them, and whether gradients are wanted at all."""

    chunk_tokens: int
    transform: LogitTransform
    with_gradient: bool

    def chunks(self, num_tokens: int) -> Iterator[slice]:
        """`num_tokens` in order, at most `chunk_tokens` at a time."""
        for start in range(0, num_tokens, self.chunk_tokens):
            yield slice(start, start + self.chunk_tokens)


@dataclass(frozen=True, slots=True)
class ProductHead:
    """weight: (V, H) and bias: (V,) in the format of the products."""

    weight: Tensor
    bias: Tensor | None
    transform: LogitTransform

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, *, transform: LogitTransform, dtype: torch.dtype) -> ProductHead:
        """A head with its weights in `dtype`; the weights themselves where they have it already."""
        return cls(weight.to(dtype), None if bias is None else bias.to(dtype), transform)

    def raw(self, hidden_CH: Tensor, block: slice = slice(None)) -> Tensor:
        """(C, K) logits of a block of the vocabulary before the transform, in the format that sums are made in."""
        bias = None if self.bias is None else self.bias[block]
        raw = linear(hidden_CH.to(self.weight.dtype), self.weight[block], bias)
        return raw.to(math_dtype(raw.dtype))

    def slope(self, logits: Tensor) -> Tensor | None:
        """The soft-cap's derivative at these logits; None without a soft-cap."""
        softcap = self.transform.softcap
        return None if softcap is None else (logits / softcap).square_().neg_().add_(1.0)


class ChunkSoftmax:
    """log softmax of one chunk's logits over the whole vocabulary."""

    def __init__(self, hidden_CH: Tensor, targets_C: Tensor, head: ProductHead) -> None:
        self._targets_C, self._head = targets_C, head
        self._logits_CV = head.transform(head.raw(hidden_CH))
        self._log_sums_C = self._logits_CV.logsumexp(-1)

    def log_probabilities(self) -> Tensor:
        """(C,) of the targets."""
        return self._logits_CV.gather(-1, self._targets_C[:, None])[:, 0] - self._log_sums_C

    def num_correct(self) -> Tensor:
        """() int64: how many targets have the largest logit."""
        return (self._logits_CV.argmax(-1) == self._targets_C).sum()

    def take_gradient(self) -> Tensor:
        """(C, V) derivative of each target's loss, -log p, by the raw logits. Written over the logits: ask it last."""
        slope_CV = self._head.slope(self._logits_CV)
        grad_CV = self._logits_CV.sub_(self._log_sums_C[:, None]).exp_()
        grad_CV[torch.arange(len(self._targets_C), device=grad_CV.device), self._targets_C] -= 1.0
        if slope_CV is not None:
            grad_CV *= slope_CV
        if self._head.transform.scale != 1.0:
            grad_CV *= self._head.transform.scale
        return grad_CV


class HeadGradients:
    """Buffers the chunks add their gradients to; None where nothing asks for one.

    needed: of the hidden states, the weight and the bias
    """

    def __init__(self, hidden_NH: Tensor, head: ProductHead, needed: Sequence[bool]) -> None:
        dtype = math_dtype(head.weight.dtype)  # sums over many chunks lose too much in low precision
        self._head = head
        self.hidden = torch.empty_like(hidden_NH, dtype=head.weight.dtype) if needed[0] else None
        self.weight = torch.zeros_like(head.weight, dtype=dtype) if needed[1] else None
        self.bias = torch.zeros_like(head.bias, dtype=dtype) if needed[2] and head.bias is not None else None

    def add(self, rows: slice, hidden_CH: Tensor, grad_CV: Tensor) -> None:
        """Take in one chunk: `grad_CV` is the gradient of its raw logits."""
        if self.bias is not None:
            self.bias += grad_CV.sum(0)
        product = grad_CV.to(self._head.weight.dtype)
        if self.hidden is not None:
            torch.mm(product, self._head.weight, out=self.hidden[rows])
        if self.weight is not None and self.weight.dtype == product.dtype:
            self.weight.addmm_(product.T, hidden_CH.to(product.dtype))
        elif self.weight is not None:
            self.weight += product.T @ hidden_CH.to(product.dtype)


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
