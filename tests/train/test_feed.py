"""The micro-batches of every step, from any place on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.feed.pipelines import pictured_rows, spoil
from tests.train.runs import write_rows
from tunesmith.config.read import load_settings_from
from tunesmith.data.feed.share import Share
from tunesmith.data.prepare import prepare_data
from tunesmith.models.preprocessing.processor import load_preprocessor
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

    def feed(place: Place | None = None, *, share: tuple[int, int] = (0, 1), **changes: object) -> list[FedStep]:
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
        data = prepare_data(settings, load_preprocessor(settings.model, settings.media))
        rank, num_processes = share
        per_step = settings.training.gradient_accumulation_steps * num_processes
        pipeline = build_training_pipeline(
            data,
            settings,
            packing=None,
            device=torch.device("cpu"),
            share=Share(rank, num_processes, per_step),
        )
        size = size_epochs(pipeline.order, pipeline.grouper, data.first, settings.training)
        plan = plan_steps(settings.training, size, accumulation=per_step)
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


def test_two_processes_share_every_step(steps: Steps) -> None:
    alone = steps()
    first, second = (steps(share=(rank, 2), gradient_accumulation_steps=1) for rank in (0, 1))
    assert [step.after for step in alone] == [step.after for step in first] == [step.after for step in second]
    assert [step.num_micro_batches for step in first] == [2, 2, 1] * 2
    assert [step.numbers for step in first] == [(0,)] * 6
    assert [step.numbers for step in second] == [(1,), (1,), ()] * 2
    assert rows_of(alone) == [one + other for one, other in zip(rows_of(first), rows_of(second), strict=True)]
    for one, other in zip(first, second, strict=True):
        assert [outcome.ref for outcome in one.outcomes] == [outcome.ref for outcome in other.outcomes]


def test_one_process_goes_on_where_two_were(steps: Steps) -> None:
    place = steps(share=(1, 2), gradient_accumulation_steps=1)[2].after
    assert rows_of(steps(Place.from_json(place.to_json()))) == rows_of(steps())[3:]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_picture_that_cannot_be_read_ends_the_steps_of_its_process(
    rank: int, steps: Steps, tmp_path: Path, qwen2_5_vl_folder: Path
) -> None:
    rows = tmp_path / "pictured.json"
    rows.write_text(json.dumps(pictured_rows(tmp_path, 10)), encoding="utf-8")
    spoil(tmp_path / "9.png")
    changes = {"model_name_or_path": str(qwen2_5_vl_folder), "dataset": str(rows), "disable_shuffling": True}
    fed = steps(share=(rank, 2), gradient_accumulation_steps=1, **changes)
    assert [len(step.batches) for step in fed[:2]] == [1, 1]
    if rank == 1:  # its process knows nothing of it, and goes on to the end
        assert len(fed) == 6 and all(step.problem is None for step in fed)
        return
    last = fed[-1]
    assert len(fed) == 3 and (last.batches, last.num_micro_batches) == ((), 0)
    assert "row 9" in str(last.problem) and last.after == fed[1].after
