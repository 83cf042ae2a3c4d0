"""Steps, epochs and intervals."""

from __future__ import annotations

import pytest

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import DataError
from tunesmith.train.steps.plan import interval_in_steps, plan_steps


def plan(num_examples, **settings):
    return plan_steps(TrainingSettings(**settings), num_examples=num_examples)


@pytest.mark.parametrize(
    ("num_examples", "batch", "accumulation", "epochs", "steps"),
    [(10, 2, 2, 1, 3), (10, 2, 2, 3, 9), (10, 2, 2, 0.5, 2), (8, 4, 1, 1, 2), (1, 4, 8, 2, 2), (10, 2, 2, 0.01, 1)],
)
def test_the_last_step_of_an_epoch_takes_what_is_left(num_examples, batch, accumulation, epochs, steps):
    made = plan(
        num_examples,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
    )
    assert made.total_steps == steps


def test_max_steps_wins_over_epochs():
    assert plan(10, max_steps=7, num_train_epochs=100).total_steps == 7


def test_every_step_has_its_place_in_an_epoch():
    made = plan(10, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert [made.locate(step) for step in range(4)] == [(0, 0), (0, 2), (0, 4), (1, 0)]
    assert [made.epochs_after(steps) for steps in range(4)] == [0, 0.4, 0.8, 1]
    assert [made.ends_epoch(steps) for steps in (1, 2, 3, 6)] == [False, False, True, True]


def test_no_rows_is_an_error_not_an_empty_run():
    with pytest.raises(DataError, match="no row is left"):
        plan(0)


@pytest.mark.parametrize(("value", "steps"), [(10, 10), (0.1, 5), (0.001, 1), (1, 1)])
def test_an_interval_below_one_is_a_share_of_all_steps(value, steps):
    assert interval_in_steps(value, total_steps=50) == steps
