"""The counters of a run: what a checkpoint must hold beside weights, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.train.steps.step import StepOutcome


@dataclass(slots=True)
class Window:
    """Sums since the last metrics line; `seconds` of the steps alone, without evaluations and saves."""

    loss_sum: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float | None:
        """Mean over the supervised tokens, None where there were none."""
        return self.loss_sum / self.supervised_tokens if self.supervised_tokens else None


@dataclass(slots=True)
class TrainState:
    """Where a run is. Order of data and randomness follow from `step` and the seed, so they need no place here.

    step:                     finished optimiser steps
    settled_step:             the last step after which everything due (evaluation, questions) was done
    supervised_tokens, tokens: trained on since the run began; tokens are all input tokens without padding
    empty_steps:              steps none of whose rows had a supervised token; they changed no weight
    best_metric, best_step:   the best evaluation so far; evaluations_without_gain: how many came after it
    """

    step: int = 0
    settled_step: int = 0
    supervised_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    empty_steps: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    window: Window = field(default_factory=Window)

    def count(self, outcome: StepOutcome, *, seconds: float) -> None:
        """Take in one finished step."""
        self.step += 1
        self.seconds += seconds
        self.supervised_tokens += outcome.num_terms
        self.tokens += outcome.num_tokens
        self.empty_steps += outcome.num_terms == 0
        self.window.loss_sum += outcome.loss_sum
        self.window.supervised_tokens += outcome.num_terms
        self.window.tokens += outcome.num_tokens
        self.window.steps += 1
        self.window.seconds += seconds

    def close_window(self) -> Window:
        """The sums since the last call, which start anew."""
        closed, self.window = self.window, Window()
        return closed

    def to_json(self) -> dict[str, Any]:
        """Plain types; floats survive JSON exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainState:
        """The inverse of to_json."""
        return cls(**{**content, "window": Window(**content["window"])})
