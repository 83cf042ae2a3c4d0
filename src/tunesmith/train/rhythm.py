"""When a run logs, evaluates, saves and asks its questions. Knows nothing of how."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.config.training import TrainingSettings
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.plan import StepPlan, interval_in_steps


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Asked after every step with the run's place. Everything but a plain save is due at the end too."""

    training: TrainingSettings
    plan: StepPlan
    has_held_out: bool

    def logs(self, place: Place) -> bool:
        """Every logging_steps, at the end, and after the first step with logging_first_step."""
        first = place.step == 1 and self.training.logging_first_step
        return first or place.step % self.training.logging_steps == 0 or self.plan.is_last(place)

    def evaluates(self, place: Place) -> bool:
        """By eval_strategy, which left empty means steps where eval_steps is given, else epoch."""
        if not self.has_held_out:
            return False
        training = self.training
        default = "steps" if training.eval_steps else "epoch"
        every = training.eval_steps or training.logging_steps
        strategy = training.eval_strategy or default
        return self._due(strategy, every, place) or (strategy != "no" and self.plan.is_last(place))

    def saves(self, place: Place, *, ends: bool = False) -> bool:
        """By save_strategy; at the end of the plan or of a run that `ends` here too, unless it is no or best."""
        strategy = self.training.save_strategy
        at_end = strategy in ("steps", "epoch") and (ends or self.plan.is_last(place))
        return at_end or self._due(strategy, self.training.save_steps, place)

    def asks(self, place: Place) -> bool:
        """Every sample_steps, before the first step and after the last; without sample_steps only these two."""
        every = self.training.sample_steps
        return place.step == 0 or self.plan.is_last(place) or (every is not None and place.step % every == 0)

    def keeps_best(self) -> bool:
        """Whether a better evaluation is a reason to save."""
        return self.training.load_best_model_at_end or self.training.save_strategy == "best"

    def _due(self, strategy: str, every: float, place: Place) -> bool:
        if strategy == "steps":
            return place.step % interval_in_steps(every, total_steps=self.plan.total_steps) == 0
        return strategy == "epoch" and place.ends_epoch
