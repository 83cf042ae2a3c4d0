"""The micro-batches of every step, from any place on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.train.runs import write_rows
from tunesmith.config.read import load_settings_from
from tunesmith.data.prepare import prepare_data
from tunesmith.models.preprocessing.processor import read_preprocessor
from tunesmith.train.pipelines import build_training_pipeline
from tunesmith.train.steps.feed import FedStep, Feed
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.plan import plan_steps
from tunesmith.train.steps.sizing import size_epochs

Steps = Callable[..., list[FedStep]]


@pytest.fixture
def steps(qwen2_folder: Path, tmp_path: Path) -> Steps:
    """The steps from a place on, of ten rows in micro-batches of two, two a step, twice."""
    rows = write_rows(tmp_path)

    def feed(place: Place | None = None, **changes: object) -> list[FedStep]:
        settings = load_settings_from(
            {
                "model_name_or_path": str(qwen2_folder),
                "dataset": str(rows),
                "output_dir": str(tmp_path / "run"),
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "num_train_epochs": 2,
                "encoding_cache": False,
                **changes,
            },
            verb="train",
        )
        data = prepare_data(settings, read_preprocessor(qwen2_folder, media=settings.media))
        pipeline = build_training_pipeline(data, settings, packing=None, device=torch.device("cpu"))
        size = size_epochs(pipeline.order, pipeline.grouper, data.first, settings.training)
        plan = plan_steps(settings.training, size)
        return list(Feed(pipeline, plan).steps(place or Place()))

    return feed


def rows_of(fed: list[FedStep]) -> list[list[list[int]]]:
    """The rows of every micro-batch of every step."""
    return [[[source.row for source in batch.sources] for batch in step.batches] for step in fed]


def test_an_epoch_takes_every_row_once_and_ends_with_a_shorter_step(steps: Steps) -> None:
    fed = steps()
    made = rows_of(fed)
    assert [len(step) for step in made] == [2, 2, 1, 2, 2, 1]
    for epoch in (made[:3], made[3:]):
        assert sorted(row for step in epoch for batch in step for row in batch) == list(range(10))
    assert made[:3] != made[3:]
    assert [(step.after.epoch, step.after.rows, step.after.ends_epoch) for step in fed[:4]] == [
        (0, 4, False),
        (0, 8, False),
        (0, 10, True),
        (1, 4, False),
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("changes", [{}, {"group_by_length": True}, {"batch_tokens": 60}], ids=str)
def test_it_goes_on_at_any_place_with_the_same_rows(changes: dict[str, object], num_workers: int, steps: Steps) -> None:
    whole = steps(**changes)
    for number in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        place = whole[number - 1].after
        again = steps(Place.from_json(place.to_json()), dataloader_num_workers=num_workers, **changes)
        assert rows_of(again) == rows_of(whole[number:])
        assert [step.after for step in again] == [step.after for step in whole[number:]]


def test_max_steps_ends_in_the_middle_of_an_epoch(steps: Steps) -> None:
    assert rows_of(steps(max_steps=4)) == rows_of(steps())[:4]


def test_order_follows_data_seed_then_seed_and_may_be_the_files(steps: Steps) -> None:
    first, other = rows_of(steps(data_seed=1)), rows_of(steps(data_seed=2))
    assert first == rows_of(steps(data_seed=1, seed=9)) != other
    assert rows_of(steps(disable_shuffling=True))[0] == [[0, 1], [2, 3]]


def test_padding_is_counted(steps: Steps) -> None:
    fed = steps(disable_shuffling=True)[0]
    longest = [max(len(row) for row in batch.inputs["attention_mask"].unbind()) for batch in fed.batches]
    assert fed.num_positions == sum(2 * length for length in longest)
