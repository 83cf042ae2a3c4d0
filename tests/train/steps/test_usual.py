"""When a number of a step is out of the ordinary, and that ordinary runs raise no alarm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.train.steps.usual import usual_loss, usual_norm


def alarms(usual, values):
    return [number for number, value in enumerate(values) if usual.take_in(value) is not None]


def falling(steps, *, start, end, noise, seed):
    """A loss that falls as losses do, each step's by its rows half or twice as high as the last (log-normal)."""
    generator = np.random.default_rng(seed)
    level = end + (start - end) * np.exp(-np.arange(steps) / (steps / 5))
    return level * np.exp(noise * generator.standard_normal(steps))


@pytest.mark.parametrize("end", [1.0, 0.3, 0.01], ids=["hard", "ordinary", "by heart"])
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_no_ordinary_run_raises_an_alarm(end, noise):
    for seed in range(20):
        assert alarms(usual_loss(), falling(2000, start=2.0, end=end, noise=noise, seed=seed)) == []


def test_no_ordinary_gradient_norm_raises_an_alarm():
    for seed in range(20):
        assert alarms(usual_norm(), falling(2000, start=3.0, end=0.5, noise=0.7, seed=seed)) == []


def test_a_hard_row_of_a_run_that_knows_its_rows_by_heart_is_none():
    losses = [2.0, *falling(500, start=1.5, end=0.01, noise=0.2, seed=0), 1.9]
    assert alarms(usual_loss(), losses) == []


def test_a_loss_that_diverges_is_one_and_only_once():
    losses = [*falling(300, start=1.8, end=0.8, noise=0.1, seed=1), 3.0, 9.5, 10.8, 11.2, 11.9]
    assert alarms(usual_loss(), losses) == [301]


def test_the_message_says_what_is_usual():
    usual = usual_loss()
    assert alarms(usual, [1.0] * 30) == []
    assert usual.take_in(7.5) == "7.5, where the last 30 steps had 1 (median) and the run never more than 1"


def test_nothing_is_said_of_the_first_steps_and_of_what_is_no_number():
    usual = usual_loss()
    assert alarms(usual, [0.001, 50.0, math.nan, math.inf]) == []
    assert usual.highest == 50.0


def test_a_resumed_run_knows_the_highest_it_had():
    assert alarms(usual_loss(highest=8.0), [0.1] * 40 + [15.0]) == []
    assert alarms(usual_loss(highest=8.0), [0.1] * 40 + [17.0]) == [40]
