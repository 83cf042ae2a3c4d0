"""What a stage may ask of the model that its own is compared with.

Knows no kinds of reference and no losses.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor, nn

from tunesmith.config.settings import Settings
from tunesmith.config.stages import REFERENCE_FREE
from tunesmith.data.batches.batch import Batch


class Reference(Protocol):
    """Another model, or the same one as it was, which does not learn."""

    @property
    def description(self) -> str:
        """What the model is compared with, in words."""

    def log_probabilities(self, model: nn.Module, batch: Batch) -> Tensor:
        """(N,) log-probability of each of the batch's targets, without a graph: float32, float64 of float64 models.

        model: the one that learns, on whose device the batch is
        """

    def sharing(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, for one batch, frozen parts that both models have run once for both, whichever comes first."""


def needs_reference(settings: Settings) -> bool:
    """Whether the stage compares the model with another one."""
    stage = settings.training.stage
    return stage == "kto" or (stage == "dpo" and settings.preference.pref_loss not in REFERENCE_FREE)
