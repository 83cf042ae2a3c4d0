"""The counters of a run: what a checkpoint must hold beside weights, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.train.steps.feed import FedStep
from tunesmith.train.steps.means import Mean, Means, add_up
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.step import StepOutcome


@dataclass(slots=True)
class Window:
    """Sums since the last metrics line.

    terms:             what the loss is a mean over
    tokens, positions: input tokens, and those with padding
    seconds:           of the steps alone, without evaluations and saves; wait_s: waiting for their batches before that
    """

    loss_sum: float = 0.0
    terms: int = 0
    tokens: int = 0
    positions: int = 0
    steps: int = 0
    seconds: float = 0.0
    wait_s: float = 0.0
    metrics: Means = field(default_factory=dict)

    @property
    def mean_loss(self) -> float | None:
        """Mean over the terms, None where there were none."""
        return self.loss_sum / self.terms if self.terms else None

    @property
    def padding_share(self) -> float | None:
        """Share of all positions that held no token."""
        return 1 - self.tokens / self.positions if self.positions else None

    def per_step(self, total: float) -> float | None:
        """`total` over the steps, None where there were none."""
        return total / self.steps if self.steps else None


@dataclass(slots=True)
class TrainState:
    """Where a run is, and what it has counted. Randomness follows from the step and the seed, so it needs no place.

    settled_step:              the last step after which everything due (evaluation, questions) was done
    supervised_tokens, tokens: trained on since the run began; tokens are all input tokens without padding
    seconds, wait_s:           of the steps, and of waiting for their batches
    empty_steps:               steps none of whose rows had anything in the loss; they changed no weight
    skipped_steps:             given up because loss or gradients were not finite; skipped_in_a_row: the latest ones
    highest_loss, highest_grad_norm: of any step so far
    held_out_counted:          whether the held-out rows are in the data report
    best_metric, best_step:    the best evaluation so far; evaluations_without_gain: how many came after it
    """

    place: Place = field(default_factory=Place)
    settled_step: int = 0
    supervised_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    wait_s: float = 0.0
    empty_steps: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    highest_loss: float = 0.0
    highest_grad_norm: float = 0.0
    held_out_counted: bool = False
    best_metric: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    window: Window = field(default_factory=Window)

    @property
    def step(self) -> int:
        """Finished optimiser steps."""
        return self.place.step

    def count(self, fed: FedStep, outcome: StepOutcome, *, seconds: float, wait_s: float) -> None:
        """Take in one finished step."""
        self.place = fed.after
        self.seconds += seconds
        self.wait_s += wait_s
        self.supervised_tokens += outcome.num_supervised
        self.tokens += outcome.num_tokens
        self.empty_steps += outcome.num_terms == 0 and not outcome.skipped
        self.skipped_steps += outcome.skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if outcome.skipped else 0
        self.window.loss_sum += outcome.loss_sum
        self.window.terms += outcome.num_terms
        self.window.tokens += outcome.num_tokens
        self.window.positions += outcome.counts.positions
        self.window.steps += 1
        self.window.seconds += seconds
        self.window.wait_s += wait_s
        self.window.metrics = add_up([self.window.metrics, outcome.metrics])

    def close_window(self) -> Window:
        """The sums since the last call, which start anew."""
        closed, self.window = self.window, Window()
        return closed

    def to_json(self) -> dict[str, Any]:
        """Plain types; floats survive JSON exactly."""
        return {**asdict(self), "place": self.place.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainState:
        """The inverse of to_json."""
        metrics = {name: Mean(**mean) for name, mean in content["window"]["metrics"].items()}
        place, window = Place.from_json(content["place"]), Window(**{**content["window"], "metrics": metrics})
        return cls(**{**content, "place": place, "window": window})
