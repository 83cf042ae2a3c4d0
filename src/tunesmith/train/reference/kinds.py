"""The kinds of reference: the model without its adapter, another model in memory, and values that were stored.

Which of them a run has is decided in `choose`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError
from tunesmith.models.adapters.without import without_adapters
from tunesmith.models.feature_sharing import FeatureSharing
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.objectives.log_probabilities import TokenLogProbabilities


@dataclass(slots=True)
class AdapterOff:
    """The model that learns, without the adapter that does the learning: it needs no memory of its own."""

    chunk_tokens: int
    description: str
    _token_log_probabilities: TokenLogProbabilities = field(init=False)
    _sharing: FeatureSharing | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._token_log_probabilities = TokenLogProbabilities(self.chunk_tokens)

    def log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:
        """See Reference."""
        with torch.no_grad(), evaluation_mode(model), without_adapters(model):
            return self._token_log_probabilities(model, batch)

    def sharing(self, model: nn.Module) -> AbstractContextManager[None]:
        """See Reference."""
        if self._sharing is None:
            self._sharing = FeatureSharing.find(model, None)
        return self._sharing.batch()


@dataclass(slots=True)
class OtherModel:
    """A model beside the one that learns.

    shares: whether frozen parts of the two are the same weights
    """

    model: nn.Module
    chunk_tokens: int
    description: str
    shares: bool
    _token_log_probabilities: TokenLogProbabilities = field(init=False)
    _sharing: FeatureSharing | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._token_log_probabilities = TokenLogProbabilities(self.chunk_tokens)

    def log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG002  it has its own
        """See Reference."""
        with torch.no_grad(), evaluation_mode(self.model):
            return self._token_log_probabilities(self.model, batch)

    def sharing(self, model: nn.Module) -> AbstractContextManager[None]:
        """See Reference."""
        if not self.shares:
            return nullcontext()
        if self._sharing is None:
            self._sharing = FeatureSharing.find(model, self.model)
        return self._sharing.batch()


@dataclass(frozen=True, slots=True)
class Stored:
    """Log-probabilities that were computed before; the batches bring them (`Answers.reference`)."""

    description: str

    def log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:  # noqa: ARG002
        """See Reference. Raises RunError for a batch that brings none."""
        if batch.answers is None or batch.answers.reference is None:
            raise RunError(f"{batch.sources[0]}: what the model is compared with was not computed; start the run again")
        return batch.answers.reference

    def sharing(self, model: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing: one model runs."""
        return nullcontext()
