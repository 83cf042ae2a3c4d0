"""Which evaluation is the best so far, and when to stop waiting for a better one."""

from __future__ import annotations

import math

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import UsageError
from tunesmith.train.objectives.objective import Objective
from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.state import TrainState

_LESS_IS_BETTER = ("loss", "perplexity", "kl")


def require_known_metric(training: TrainingSettings, objective: Objective) -> None:
    """Raises UsageError if `metric_for_best_model` names nothing that an evaluation of `objective` measures."""
    known = ["loss", *(["perplexity"] if objective.term == "token" else []), *objective.metrics]
    if _metric_name(training) not in known:
        raise UsageError(
            f"metric_for_best_model: {training.metric_for_best_model} is not measured; choose "
            f"{' or '.join(f'eval_{name}' for name in known)}"
        )


def take_in(evaluation: Evaluation, state: TrainState, training: TrainingSettings) -> bool:
    """Update the best in `state`; whether this evaluation is better than all before. NaN is never better."""
    name = _metric_name(training)
    value = evaluation.numbers()[name]
    greater = name not in _LESS_IS_BETTER if training.greater_is_better is None else training.greater_is_better
    best = state.best_metric
    better = not math.isnan(value) and (best is None or (value > best if greater else value < best))
    if better:
        state.best_metric, state.best_step, state.evaluations_without_gain = value, state.step, 0
    else:
        state.evaluations_without_gain += 1
    return better


def gives_up(state: TrainState, training: TrainingSettings) -> bool:
    """Whether `early_stopping_steps` evaluations in a row brought no gain."""
    patience = training.early_stopping_steps
    return patience is not None and state.evaluations_without_gain >= patience


def _metric_name(training: TrainingSettings) -> str:
    """Without the `eval_` that may stand before it."""
    return training.metric_for_best_model.removeprefix("eval_")
