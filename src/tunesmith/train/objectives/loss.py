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

from tunesmith.models.head import LanguageHead
from tunesmith.train.objectives.chunked_cross_entropy import chunked_cross_entropy
from tunesmith.train.objectives.head_log_probabilities import frozen_head_log_probabilities
from tunesmith.train.objectives.linear_head import ChunkOptions, math_dtype


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """loss_sum: () with the graph, in nats over the supervised tokens; num_correct: () int64, argmax equal to label."""

    loss_sum: Tensor
    num_correct: Tensor


def loss_from_hidden(
    hidden_BTH: Tensor, positions_N: Tensor, targets_N: Tensor, *, head: LanguageHead, chunk_tokens: int
) -> TokenLoss:
    """Cross-entropy of a head's logits at the flat `positions_N` of B · T, which predict the ids `targets_N`.

    Equal to the loss over all logits, value and gradients.
    """
    hidden_NH = hidden_BTH.flatten(0, 1).index_select(0, positions_N)
    plain = head.plain
    if plain is None:
        return _loss_through(hidden_NH, targets_N, head=head, chunk_tokens=chunk_tokens)
    options = ChunkOptions(chunk_tokens, head.transform, with_gradient=torch.is_grad_enabled())
    arguments = (hidden_NH, plain.weight, plain.bias, targets_N)
    if any(parameter.requires_grad for parameter in plain.parameters()):
        return TokenLoss(*chunked_cross_entropy(*arguments, options=options))
    log_probabilities, num_correct = frozen_head_log_probabilities(*arguments, options=options)
    return TokenLoss(-log_probabilities.sum(), num_correct)


def loss_from_logits(logits_BTV: Tensor, positions_N: Tensor, targets_N: Tensor, *, chunk_tokens: int) -> TokenLoss:
    """The same from logits that a model's own forward made: no memory is saved."""
    logits_NV = logits_BTV.flatten(0, 1).index_select(0, positions_N)
    chunks = zip(torch.split(logits_NV, chunk_tokens), torch.split(targets_N, chunk_tokens), strict=True)
    return _total([_loss_of_logits(logits, targets) for logits, targets in chunks])


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
