"""How many prompts and steps a run on drawn answers has."""

from __future__ import annotations

import pytest

from tunesmith.config.grpo import GrpoSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.train.grpo.plan import list_prompts, plan_drawing


def plan_of(num_prompts=10, *, batch=8, accumulation=2, epochs=1.0, max_steps=-1, **grpo):
    training = TrainingSettings(
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        max_steps=max_steps,
    )
    return plan_drawing(
        Settings(training=training, grpo=GrpoSettings(num_generations=4, **grpo)), num_prompts=num_prompts
    )


@pytest.mark.parametrize(
    ("settings", "windows", "steps"),
    [
        ({}, 3, 3),  # 4 prompts at a time: 10 prompts fill two and a half windows
        ({"epochs": 2}, 5, 5),
        ({"epochs": 0.4}, 1, 1),
        ({"grpo_num_iterations": 3}, 3, 9),
        ({"steps_per_generation": 4}, 2, 4),  # 8 prompts at a time, two steps on them
        ({"max_steps": 7, "grpo_num_iterations": 2}, 4, 7),
    ],
)
def test_windows_and_steps(settings, windows: int, steps: int) -> None:
    plan = plan_of(**settings)
    assert (plan.num_windows, plan.total_steps) == (windows, steps)


def test_a_run_ends_a_window_where_its_answers_are_used_up() -> None:
    plan = plan_of(grpo_num_iterations=2, max_steps=5)
    assert [step for step in range(1, 6) if plan.ends_window(step)] == [2, 4, 5]


def test_places_tell_the_epoch() -> None:
    plan = plan_of(epochs=2)
    places = [plan.place(step) for step in range(1, 6)]
    assert [(place.epoch, place.rows, place.ends_epoch) for place in places] == [
        (0, 4, False),
        (0, 8, False),
        (0, 10, True),
        (1, 6, False),
        (1, 10, True),
    ]
    assert [plan.step_plan.is_last(place) for place in places] == [False] * 4 + [True]
    assert plan.step_plan.epochs_after(places[1]) == pytest.approx(0.8)


def test_epochs_follow_each_other_in_full_windows() -> None:
    orders = {0: [2, 0, 1], 1: [1, 2, 0], 2: [0, 1, 2]}
    plan = plan_of(3, epochs=2)  # 4 prompts at a time
    assert list_prompts(plan, orders.__getitem__) == [2, 0, 1, 1, 2, 0, 0, 1]
