"""The same micro-batches in the same order, wherever a feed begins and whoever makes them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.feed.pipelines import BAD, build_pipeline, consumed, pictured_rows, rows_of, sound_rows, spoil
from tunesmith.data.batches.collate import Batch
from tunesmith.data.feed.grouping import GroupByLength, GroupByTokens, Grouper, GroupExamples, GroupPacks
from tunesmith.data.feed.pipeline import FeedPosition, MicroBatch, Pipeline
from tunesmith.errors import DataError, RunError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
GROUPERS: list[Grouper] = [
    GroupExamples(3),
    GroupByLength(3),
    GroupByTokens(300),
    GroupPacks(200, 2),
]


def assert_equal(some: Sequence[MicroBatch], others: Sequence[MicroBatch]) -> None:
    assert [rows_of(micro_batch) for micro_batch in some] == [rows_of(micro_batch) for micro_batch in others]
    assert consumed(some) == consumed(others)
    assert [(one.after, one.ends_epoch) for one in some] == [(other.after, other.ends_epoch) for other in others]
    for one, other in zip(some, others, strict=True):
        if one.batch is not None and other.batch is not None:
            assert torch.equal(one.batch.labels, other.batch.labels)
            assert all(torch.equal(value, other.batch.inputs[name]) for name, value in one.batch.inputs.items())


@pytest.fixture
def qwen2(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("streams", [False, True])
def test_workers_change_nothing(tmp_path: Path, qwen2: Preprocessor, grouper: Grouper, streams: bool) -> None:
    rows = [*sound_rows(90), BAD, BAD]
    made = [
        list(
            build_pipeline(
                qwen2, tmp_path, rows, streams=streams, grouper=grouper, num_workers=num_workers, ahead=ahead
            ).micro_batches(last_epoch=1)
        )
        for num_workers, ahead in [(0, None), (1, 2), (2, 1)]
    ]
    assert_equal(made[0], made[1])
    assert_equal(made[0], made[2])


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("streams", [False, True])
def test_a_feed_goes_on_from_any_position(tmp_path: Path, qwen2: Preprocessor, grouper: Grouper, streams: bool) -> None:
    rows = [BAD, *sound_rows(60), BAD]
    pipeline = build_pipeline(qwen2, tmp_path, rows, streams=streams, grouper=grouper)
    whole = list(pipeline.micro_batches(last_epoch=1))
    for number, micro_batch in enumerate(whole[:-1], start=1):
        saved = FeedPosition.from_json(micro_batch.after.to_json())
        rest = list(pipeline.micro_batches(saved, last_epoch=1))
        assert [rows_of(one) for one in rest] == [rows_of(one) for one in whole[number:]]
        assert consumed(rest) == consumed(whole[number:])


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
def test_every_row_is_accounted_for_once_an_epoch(tmp_path: Path, qwen2: Preprocessor, grouper: Grouper) -> None:
    rows = [*sound_rows(50), *[BAD] * 8]
    pipeline = build_pipeline(qwen2, tmp_path, rows, grouper=grouper)
    micro_batches = list(pipeline.micro_batches(last_epoch=1))
    ends = [number for number, micro_batch in enumerate(micro_batches, start=1) if micro_batch.ends_epoch]
    assert len(ends) == 2 and ends[1] == len(micro_batches)
    for part in (micro_batches[: ends[0]], micro_batches[ends[0] :]):
        assert sorted(consumed(part)) == list(range(58))
        assert sorted(row for micro_batch in part for row in rows_of(micro_batch)) == list(range(50))
    assert micro_batches[ends[0] - 1].after == FeedPosition(1)


def test_micro_batches_are_full_until_the_epoch_ends(tmp_path: Path, qwen2: Preprocessor) -> None:
    rows = [row for sound in sound_rows(20) for row in (sound, BAD)]
    sizes = [len(rows_of(one)) for one in build_pipeline(qwen2, tmp_path, rows).micro_batches(last_epoch=0)]
    assert sizes == [3] * 6 + [2]


def test_without_an_end_epochs_follow_one_another(tmp_path: Path, qwen2: Preprocessor) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(4))
    with closing(pipeline.micro_batches()) as micro_batches:
        assert [one.ends_epoch for one in islice(micro_batches, 7)] == [False, True] * 3 + [False]


def test_the_last_touch_is_given_in_this_process(tmp_path: Path, qwen2: Preprocessor) -> None:
    threads: set[str] = set()

    def finish(batch: Batch) -> Batch:
        threads.add(threading.current_thread().name)
        return replace(batch, inputs={**batch.inputs, "touched": torch.ones(1)})

    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(9), finish=finish, num_workers=1)
    assert all(one.batch is not None and "touched" in one.batch.inputs for one in pipeline.micro_batches(last_epoch=0))
    assert threads == {"data feed"}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bad_row_stops_the_feed_when_its_turn_comes(tmp_path: Path, qwen2: Preprocessor, num_workers: int) -> None:
    rows = [*sound_rows(30), BAD]
    pipeline = build_pipeline(qwen2, tmp_path, rows, on_bad_row="stop", num_workers=num_workers)
    order = next(pipeline.order.chunks(FeedPosition(), size=31)).refs
    before = [ref.row for ref in order].index(30)
    seen: list[MicroBatch] = []
    with pytest.raises(DataError, match=r"rows.jsonl, row 30: .*\n.*on_bad_row: skip"):
        for micro_batch in pipeline.micro_batches():
            seen.append(micro_batch)
    assert len(seen) == before // 3
    assert [row for one in seen for row in rows_of(one)] == [ref.row for ref in order[: before - before % 3]]


@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
def test_no_usable_row_is_an_error(tmp_path: Path, qwen2: Preprocessor, on_bad_row: str) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, [BAD] * 5, on_bad_row=on_bad_row)
    with pytest.raises(DataError, match=r"row [0-4]: "):
        next(pipeline.micro_batches())


@pytest.fixture
def pictured(preprocessor_of: PreprocessorOf, tmp_path: Path) -> Callable[..., Pipeline]:
    """Twelve rows with a picture each; that of row 5 is there, sound from the outside, and ends in its middle."""

    def build(**options: Any) -> Pipeline:
        pipeline = build_pipeline(preprocessor_of("qwen2_5_vl"), tmp_path, pictured_rows(tmp_path, 12), **options)
        spoil(tmp_path / "5.png")
        return pipeline

    return build


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pictures_are_made_by_workers(pictured: Callable[..., Pipeline], num_workers: int) -> None:
    micro_batches = list(pictured(num_workers=num_workers, grouper=GroupExamples(4)).micro_batches(last_epoch=0))
    assert sorted(consumed(micro_batches)) == list(range(12))
    problems = [outcome for one in micro_batches for outcome in one.outcomes if outcome.problem is not None]
    assert [(outcome.ref.row, outcome.encoded) for outcome in problems] == [(5, None)]
    assert "5.png" in str(problems[0].problem)
    assert sorted(len(rows_of(one)) for one in micro_batches) == [3, 4, 4]
    for one in micro_batches:
        assert one.batch is not None and one.batch.inputs["image_grid_thw"].shape[0] == len(rows_of(one))


def test_a_micro_batch_of_broken_media_alone_is_empty(pictured: Callable[..., Pipeline]) -> None:
    micro_batches = list(pictured(grouper=GroupExamples(1)).micro_batches(last_epoch=0))
    empty = [one for one in micro_batches if one.batch is None]
    assert len(micro_batches) == 12 and [consumed([one]) for one in empty] == [[5]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_broken_media_stop_the_feed_naming_the_row(pictured: Callable[..., Pipeline], num_workers: int) -> None:
    pipeline = pictured(num_workers=num_workers, on_bad_row="stop")
    with pytest.raises(DataError, match=r"rows.jsonl, row 5: .*5.png.*\n.*on_bad_row: skip") as raised:
        list(pipeline.micro_batches(last_epoch=0))
    assert "Traceback" not in str(raised.value)


def test_a_killed_worker_ends_the_feed(tmp_path: Path, qwen2: Preprocessor) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(300), num_workers=2, ahead=1)
    micro_batches = pipeline.micro_batches()
    next(micro_batches)
    for child in active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(RunError, match=r"was killed by SIGKILL.*lower dataloader_num_workers"):
        list(micro_batches)
    assert active_children() == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_closing_early_leaves_nothing_behind(tmp_path: Path, qwen2: Preprocessor, num_workers: int) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(300), num_workers=num_workers)
    with closing(pipeline.micro_batches()) as micro_batches:
        next(micro_batches)
        assert len(active_children()) == num_workers
    assert active_children() == []
    assert "data feed" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("num_workers", "most"), [(0, 5), (1, 6)])
def test_few_micro_batches_are_made_ahead(tmp_path: Path, qwen2: Preprocessor, num_workers: int, most: int) -> None:
    finished: list[int] = []

    def finish(batch: Batch) -> Batch:
        finished.append(len(batch.sources))
        return batch

    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(300), finish=finish, num_workers=num_workers, ahead=3)
    with closing(pipeline.micro_batches()) as micro_batches:
        next(micro_batches)
        time.sleep(1.0)
        assert len(finished) <= most


def test_the_global_random_state_is_left_alone(tmp_path: Path, qwen2: Preprocessor) -> None:
    state = torch.get_rng_state()
    list(build_pipeline(qwen2, tmp_path, sound_rows(30), grouper=GroupPacks(200, 2)).micro_batches(last_epoch=0))
    assert torch.equal(torch.get_rng_state(), state)
