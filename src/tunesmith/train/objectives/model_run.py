"""One batch through one model: its hidden states with its proven head, or the logits of its own forward.

Logits are made by our chunks where the head is proven equal to the model's own forward, else by that forward; which of
the two is decided on the first batch and said. Knows nothing of losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from tunesmith import log
from tunesmith.data.batches.batch import Batch
from tunesmith.models.head import HeadUnproven, LanguageHead, find_head
from tunesmith.models.packing.split_attention import samples_apart


@dataclass(frozen=True, slots=True)
class HiddenStates:
    """states: (B, T, H) what the head receives, with the graph."""

    states: Tensor
    head: LanguageHead


@dataclass(frozen=True, slots=True)
class Logits:
    """logits: (B, T, V) with the graph."""

    logits: Tensor


@dataclass(slots=True)
class ModelRun:
    """Runs batches through one model; keep one for each model."""

    _head: LanguageHead | HeadUnproven | None = field(default=None, init=False)

    def __call__(self, model: nn.Module, batch: Batch) -> HiddenStates | Logits:
        """The batch must be on the model's device. Packed samples, and the answers of one sample, are kept apart."""
        inputs = {**batch.inputs, "use_cache": False}  # it holds memory, and with it transformers packs nothing
        with samples_apart(batch.lengths, batch.branches):
            if self._head is None:
                self._head = self._prove(model, inputs)
            if isinstance(self._head, HeadUnproven):
                return Logits(model(**inputs).logits)
            return HiddenStates(self._head.hidden_states(model, inputs), self._head)

    def _prove(self, model: nn.Module, inputs: dict[str, object]) -> LanguageHead | HeadUnproven:
        head = find_head(model, inputs)
        if isinstance(head, HeadUnproven):
            log.note_once(
                f"the chunked loss is not used for {type(model).__name__}: {head.reason}. "
                "The model's own forward makes the logits of every position, which takes more memory."
            )
        return head
