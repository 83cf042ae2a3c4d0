"""Supervised fine-tuning: cross-entropy over the supervised tokens.

Logits are made by our chunked loss where it is proven equal to the model's own forward, else by that forward; which of
the two is decided on the first batch and logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from tunesmith import log
from tunesmith.data.batches.batch import Batch
from tunesmith.models.head import HeadUnproven, LanguageHead, find_head
from tunesmith.train.objectives.loss import loss_from_hidden, loss_from_logits
from tunesmith.train.objectives.objective import LossSum


@dataclass(slots=True)
class SupervisedObjective:
    """`chunk_tokens`: supervised positions whose logits exist at a time."""

    chunk_tokens: int
    _head: LanguageHead | HeadUnproven | None = field(default=None, init=False)

    def num_terms(self, batch: Batch) -> int:
        """Supervised tokens that have a token before them."""
        return batch.num_supervised

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """Sum of the cross-entropies of the batch's supervised tokens."""
        inputs = {**batch.inputs, "use_cache": False}  # it holds memory, and with it transformers packs nothing
        if self._head is None:
            self._head = self._prove(model, inputs)
        if isinstance(self._head, HeadUnproven):
            logits = model(**inputs).logits
            loss = loss_from_logits(logits, batch.positions, batch.targets, chunk_tokens=self.chunk_tokens)
        else:
            hidden = self._head.hidden_states(model, inputs)
            loss = loss_from_hidden(
                hidden, batch.positions, batch.targets, head=self._head, chunk_tokens=self.chunk_tokens
            )
        return LossSum(loss.loss_sum, loss.num_correct)

    def _prove(self, model: nn.Module, inputs: dict[str, object]) -> LanguageHead | HeadUnproven:
        head = find_head(model, inputs)
        if isinstance(head, HeadUnproven):
            log.warning(
                f"the chunked loss is not used for {type(model).__name__}: {head.reason}. "
                "The model's own forward makes the logits of every position, which takes more memory."
            )
        return head
