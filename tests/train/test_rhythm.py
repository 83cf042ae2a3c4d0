"""What is due after which step, which evaluation is the best, and when to give up."""

from __future__ import annotations

import pytest

from tests.train.places import place, place_of_epochs
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import UsageError
from tunesmith.train.best import gives_up, require_known_metric, take_in
from tunesmith.train.objectives.sft import SupervisedObjective
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.plan import EpochSize, plan_steps
from tunesmith.train.steps.state import TrainState

NAN = float("nan")


def steps_due(what, *, held_out=True, **settings):
    """Those of 12 steps, three epochs of four, after which `what` is due."""
    training = TrainingSettings(num_train_epochs=3, **settings)
    rhythm = Rhythm(training, plan_steps(training, EpochSize(4, 1, True)), has_held_out=held_out)
    places = [place_of_epochs(step, steps_per_epoch=4) for step in range(13)]
    return [at.step for at in places if getattr(rhythm, what)(at) and (at.step or what == "asks")]


def test_logging_takes_the_first_and_the_last_step_too():
    assert steps_due("logs", logging_steps=5) == [1, 5, 10, 12]
    assert steps_due("logs", logging_steps=5, logging_first_step=False) == [5, 10, 12]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [4, 8, 12]),
        ({"eval_steps": 5}, [5, 10, 12]),
        ({"eval_steps": 0.25}, [3, 6, 9, 12]),
        ({"eval_strategy": "steps", "logging_steps": 6}, [6, 12]),
        ({"eval_strategy": "no", "eval_steps": 5}, []),
    ],
)
def test_evaluation(settings, steps):
    assert steps_due("evaluates", **settings) == steps
    assert steps_due("evaluates", held_out=False, **settings) == []


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"save_steps": 5}, [5, 10, 12]),
        ({"save_strategy": "epoch"}, [4, 8, 12]),
        ({"save_strategy": "no"}, []),
        ({"save_strategy": "best"}, []),
    ],
)
def test_saving(settings, steps):
    assert steps_due("saves", **settings) == steps


def test_questions_are_asked_before_the_first_and_after_the_last_step():
    assert steps_due("asks", sample_steps=5) == [0, 5, 10, 12]
    assert steps_due("asks") == [0, 12]


def gains(values, **settings):
    training, state = TrainingSettings(**settings), TrainState()
    better = []
    for step, (loss, accuracy) in enumerate(values, start=1):
        state.place = place(step)
        better.append(take_in(Evaluation(loss, "token", 1, 1, {"accuracy": accuracy}), state, training))
    return better, state, gives_up(state, training)


def test_the_best_evaluation_is_the_lowest_loss_unless_told_otherwise():
    values = [(3.0, 0.1), (2.0, 0.4), (2.5, 0.6), (NAN, NAN)]
    better, state, _ = gains(values)
    assert (better, state.best_step, state.best_metric) == ([True, True, False, False], 2, 2.0)
    assert state.evaluations_without_gain == 2
    assert gains(values, metric_for_best_model="accuracy")[1].best_step == 3
    assert gains(values, metric_for_best_model="eval_loss", greater_is_better=True)[1].best_step == 1


def test_early_stopping_waits_for_so_many_evaluations_without_a_gain():
    values = [(1.0, 0), (2.0, 0), (2.0, 0)]
    assert gains(values, early_stopping_steps=2)[2]
    assert not gains(values, early_stopping_steps=3)[2]
    assert not gains(values)[2]


def test_a_metric_nobody_measures_is_refused():
    with pytest.raises(UsageError, match="metric_for_best_model: rouge is not measured; choose eval_loss or"):
        require_known_metric(TrainingSettings(metric_for_best_model="rouge"), SupervisedObjective(chunk_tokens=8))
    for name in ("loss", "eval_perplexity", "eval_accuracy"):
        require_known_metric(TrainingSettings(metric_for_best_model=name), SupervisedObjective(chunk_tokens=8))
