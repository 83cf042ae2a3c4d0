"""Steps, epochs, intervals, and where a run ends."""

from __future__ import annotations

import math

import pytest

from tests.train.places import place
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import DataError, UsageError
from tunesmith.train.steps.plan import EpochSize, StepPlan, interval_in_steps, plan_steps, require_an_end


def plan(
    num_rows: int | None, *, rows_per_batch: float = 1, counted: tuple[int, ...] | None = None, **settings: float
) -> StepPlan:
    """The plan for rows in equal micro-batches; see `estimated` for others."""
    return plan_steps(TrainingSettings(**settings), EpochSize(num_rows, rows_per_batch, True, counted))


def estimated(num_rows: int, *, rows_per_batch: float, **settings: float) -> StepPlan:
    """The plan for rows whose micro-batches are known by their mean alone."""
    return plan_steps(TrainingSettings(**settings), EpochSize(num_rows, rows_per_batch, False))


@pytest.mark.parametrize(
    ("num_rows", "batch", "accumulation", "epochs", "steps"),
    [(10, 2, 2, 1, 3), (10, 2, 2, 3, 9), (10, 2, 2, 0.5, 2), (8, 4, 1, 1, 2), (1, 4, 8, 2, 2), (10, 2, 2, 0.01, 1)],
)
def test_the_last_step_of_an_epoch_takes_what_is_left(num_rows, batch, accumulation, epochs, steps):
    made = plan(num_rows, rows_per_batch=batch, gradient_accumulation_steps=accumulation, num_train_epochs=epochs)
    assert made.total_steps == steps
    assert made.exact


def test_max_steps_wins_over_epochs():
    made = plan(10, max_steps=7, num_train_epochs=100)
    assert (made.total_steps, made.last_epoch) == (7, None)
    assert not made.is_last(place(6, ends_epoch=True))
    assert made.is_last(place(7))


def test_a_place_is_so_many_epochs_and_steps_far():
    made = plan(10, rows_per_batch=2, gradient_accumulation_steps=2, num_train_epochs=2)
    places = [place(1, rows=4), place(2, rows=8), place(3, rows=10, ends_epoch=True), place(4, epoch=1, rows=4)]
    assert [made.epochs_after(at) for at in places] == [0.4, 0.8, 1, 1.4]
    assert [made.passed(at) for at in places] == [1, 2, 3, 4]
    assert [made.is_last(at) for at in places] == [False] * 4
    assert made.is_last(place(6, epoch=1, rows=10, ends_epoch=True))


def test_rows_that_are_left_out_shorten_an_epoch_and_not_the_run_s_share():
    """Nobody knew that two of the ten rows are unusable: the second step is the last, and half of the run is passed."""
    made = plan(10, rows_per_batch=2, gradient_accumulation_steps=2, num_train_epochs=2)
    end = place(2, rows=10, ends_epoch=True)
    assert made.passed(end) == 3
    assert made.is_last(place(4, epoch=1, rows=10, ends_epoch=True))
    assert not made.is_last(end)


def test_an_estimated_plan_goes_by_rows():
    made = estimated(1000, rows_per_batch=7.9, gradient_accumulation_steps=2, num_train_epochs=2)
    assert (made.steps_per_epoch, made.total_steps, made.exact, made.last_epoch) == (63, 126, False, 1)
    assert made.passed(place(40, rows=500)) == pytest.approx(31.5)
    assert made.passed(place(70, rows=1000, ends_epoch=True)) == 63
    assert made.passed(place(75, epoch=1, rows=500)) == pytest.approx(94.5)
    assert not made.is_last(place(200, epoch=1, rows=990))
    assert made.is_last(place(110, epoch=1, rows=1000, ends_epoch=True))


def test_half_an_epoch_of_an_estimated_plan_ends_with_half_of_the_rows():
    made = estimated(1000, rows_per_batch=10, num_train_epochs=0.5)
    assert made.total_steps == 50
    assert not made.is_last(place(60, rows=499))
    assert made.is_last(place(48, rows=505))


def test_counted_epochs_may_differ():
    made = plan(10, counted=(5, 4, 6), gradient_accumulation_steps=2, num_train_epochs=2.5)
    assert made.total_steps == 3 + 2 + 2
    assert made.is_last(place(7, epoch=2, rows=6))
    assert not made.is_last(place(6, epoch=2, rows=5))
    assert made.exact


def test_a_stream_ends_by_steps_alone():
    made = plan(None, rows_per_batch=4, max_steps=5)
    assert (made.total_steps, made.steps_per_epoch, made.epochs) == (5, None, math.inf)
    assert made.epochs_after(place(3, rows=12)) == 0
    assert made.epochs_after(place(3, rows=12, ends_epoch=True)) == 1
    with pytest.raises(UsageError, match="set max_steps"):
        plan(None)
    with pytest.raises(UsageError, match="set max_steps"):
        require_an_end(TrainingSettings(), streaming=True)


def test_no_rows_is_an_error_not_an_empty_run():
    with pytest.raises(DataError, match="no row is left"):
        plan(0)


@pytest.mark.parametrize(("value", "steps"), [(10, 10), (0.1, 5), (0.001, 1), (1, 1)])
def test_an_interval_below_one_is_a_share_of_all_steps(value, steps):
    assert interval_in_steps(value, total_steps=50) == steps
