"""Log-probabilities of a batch's supervised tokens, for the losses that compare whole answers.

Logits exist for at most `chunk_tokens` tokens at a time wherever the head is proven; value and gradient are those of
the full logits. Knows nothing of answers or of what the numbers are for.
Shapes: N supervised tokens, C tokens of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tunesmith.data.batches.batch import Batch
from tunesmith.models.head import LanguageHead
from tunesmith.train.objectives.head_log_probabilities import (
    frozen_head_log_probabilities,
    trained_head_log_probabilities,
)
from tunesmith.train.objectives.linear_head import ChunkOptions, math_dtype
from tunesmith.train.objectives.model_run import Logits, ModelRun


@dataclass(slots=True)
class TokenLogProbabilities:
    """Runs batches through one model; keep one for each model.

    chunk_tokens: supervised positions whose logits exist at a time
    """

    chunk_tokens: int
    _run: ModelRun = field(default_factory=ModelRun, init=False)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """(N,) in nats, float32 (float64 for float64 models), of batch.targets at batch.positions, with the graph.

        The batch is on the model's device.
        """
        run = self._run(model, batch)
        states = run.logits if isinstance(run, Logits) else run.states
        chosen_N = states.flatten(0, 1).index_select(0, batch.positions)
        if isinstance(run, Logits):
            return _of_logits(chosen_N, batch.targets, chunk_tokens=self.chunk_tokens)
        return of_hidden(chosen_N, batch.targets, head=run.head, chunk_tokens=self.chunk_tokens)


def of_hidden(hidden_NH: Tensor, targets_N: Tensor, *, head: LanguageHead, chunk_tokens: int) -> Tensor:
    """(N,) log-probability of each target after the hidden state that predicts it, with the graph."""
    plain = head.plain
    if plain is None:
        return _through_module(hidden_NH, targets_N, head=head, chunk_tokens=chunk_tokens)
    options = ChunkOptions(chunk_tokens, head.transform, with_gradient=torch.is_grad_enabled())
    if any(parameter.requires_grad for parameter in plain.parameters()):
        return trained_head_log_probabilities(hidden_NH, plain.weight, plain.bias, targets_N, options=options)
    return frozen_head_log_probabilities(hidden_NH, plain.weight, plain.bias, targets_N, options=options)[0]


def _through_module(hidden_NH: Tensor, targets_N: Tensor, *, head: LanguageHead, chunk_tokens: int) -> Tensor:
    """Chunks through the head's module, recomputed in the backward pass: for adapters and quantised heads."""

    def of_chunk(hidden_CH: Tensor, targets_C: Tensor) -> Tensor:
        return _gather(head.logits(hidden_CH), targets_C)

    chunks = zip(torch.split(hidden_NH, chunk_tokens), torch.split(targets_N, chunk_tokens), strict=True)
    return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks])


def _of_logits(logits_NV: Tensor, targets_N: Tensor, *, chunk_tokens: int) -> Tensor:
    chunks = zip(torch.split(logits_NV, chunk_tokens), torch.split(targets_N, chunk_tokens), strict=True)
    return torch.cat([_gather(logits, targets) for logits, targets in chunks])


def _gather(logits_CV: Tensor, targets_C: Tensor) -> Tensor:
    return -functional.cross_entropy(logits_CV.to(math_dtype(logits_CV.dtype)), targets_C, reduction="none")
