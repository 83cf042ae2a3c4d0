"""Cross-entropy over the supervised tokens of a batch, from hidden states or from logits.

Positions outside the loss are never multiplied by the head, and logits exist for at most `chunk_tokens` tokens at a
time. Everything here returns sums: the loop divides by the number of supervised tokens of the whole step.
Shapes: B rows, T tokens, N supervised tokens, C tokens of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tunesmith.data.encoded import IGNORED
from tunesmith.models.head import LanguageHead
from tunesmith.train.objectives.chunked_cross_entropy import ChunkOptions, chunked_cross_entropy, math_dtype


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """loss_sum: () with the graph, in nats over the supervised tokens; num_correct: () int64, argmax equal to label."""

    loss_sum: Tensor
    num_correct: Tensor


def loss_from_hidden(hidden_BTH: Tensor, labels_BT: Tensor, head: LanguageHead, *, chunk_tokens: int) -> TokenLoss:
    """Causal cross-entropy of a head's logits: position t predicts label t + 1.

    labels_BT: int64, IGNORED where not supervised. Equal to the loss over all logits, value and gradients.
    """
    hidden_NH, targets_N = _supervised(hidden_BTH, labels_BT)
    plain = head.plain
    if plain is None:
        return _loss_through(hidden_NH, targets_N, head=head, chunk_tokens=chunk_tokens)
    options = ChunkOptions(chunk_tokens, head.transform, with_gradient=torch.is_grad_enabled())
    return TokenLoss(*chunked_cross_entropy(hidden_NH, plain.weight, plain.bias, targets_N, options=options))


def loss_from_logits(logits_BTV: Tensor, labels_BT: Tensor, *, chunk_tokens: int) -> TokenLoss:
    """The same from logits that a model's own forward made: no memory is saved."""
    logits_NV, targets_N = _supervised(logits_BTV, labels_BT)
    chunks = zip(torch.split(logits_NV, chunk_tokens), torch.split(targets_N, chunk_tokens), strict=True)
    return _total([_loss_of_logits(logits, targets) for logits, targets in chunks])


def _supervised(states_BTX: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """(N, X) states that predict a supervised token, and the (N,) tokens they predict."""
    targets = labels_BT[:, 1:]
    chosen = targets != IGNORED
    return states_BTX[:, :-1][chosen], targets[chosen]


def _loss_through(hidden_NH: Tensor, targets_N: Tensor, *, head: LanguageHead, chunk_tokens: int) -> TokenLoss:
    """Chunks through the head's module, recomputed in the backward pass: for adapters and quantised heads."""

    def chunk_loss(hidden_CH: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
        loss = _loss_of_logits(head.logits(hidden_CH), targets_C)
        return loss.loss_sum, loss.num_correct

    chunks = zip(torch.split(hidden_NH, chunk_tokens), torch.split(targets_N, chunk_tokens), strict=True)
    return _total([TokenLoss(*checkpoint(chunk_loss, *chunk, use_reentrant=False)) for chunk in chunks])


def _loss_of_logits(logits_CV: Tensor, targets_C: Tensor) -> TokenLoss:
    logits = logits_CV.to(math_dtype(logits_CV.dtype))
    loss_sum = functional.cross_entropy(logits, targets_C, reduction="sum")
    return TokenLoss(loss_sum, (logits.detach().argmax(-1) == targets_C).sum())


def _total(losses: Sequence[TokenLoss]) -> TokenLoss:
    loss_sum = torch.stack([loss.loss_sum for loss in losses]).sum()
    return TokenLoss(loss_sum, torch.stack([loss.num_correct for loss in losses]).sum())
