"""Steps are the same for any number of processes: the same rows in the same micro-batches, each made by one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.conversations import build_encoder
from tests.data.feed.pipelines import BAD, build_pipeline, in_lockstep, pictured_rows, sound_rows, spoil, steps_of
from tests.data.feed.test_pipeline_documents import build_pipeline as build_document_pipeline
from tests.data.feed.test_pipeline_documents import documents
from tests.data.numbered import numbered_datasets
from tests.tiny import tiny_folder
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.chosen_rows import all_rows
from tunesmith.data.feed.grouping import GroupByLength, GroupByTokens, Grouper, GroupExamples, GroupPacks
from tunesmith.data.feed.lost import LostSamples
from tunesmith.data.feed.mixing import Mix
from tunesmith.data.feed.order import EpochOrder
from tunesmith.data.feed.pipeline import FeedPosition, MicroBatch, Pipeline
from tunesmith.data.feed.share import Share
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
Steps = list[list[MicroBatch]]
GROUPERS: list[Grouper] = [GroupExamples(3), GroupByLength(3), GroupByTokens(300), GroupPacks(200, 2)]
PER_STEP = 5


def shares(pipeline: Pipeline, num_processes: int, *, per_step: int = PER_STEP) -> list[Pipeline]:
    return [replace(pipeline, share=Share(rank, num_processes, per_step)) for rank in range(num_processes)]


def assert_one_step(parts: Sequence[MicroBatch], whole: MicroBatch) -> None:
    """What every process made of one micro-batch: one of them its batch, the others nothing, all the same account."""
    for part in parts:
        assert (part.number, part.after, part.ends_epoch) == (whole.number, whole.after, whole.ends_epoch)
        assert [one.ref for one in part.outcomes] == [one.ref for one in whole.outcomes]
    made = {rank: part.batch for rank, part in enumerate(parts) if part.batch is not None}
    assert list(made) == [whole.number % len(parts)]
    assert whole.batch is not None
    assert_same_batch(made[whole.number % len(parts)], whole.batch)


def assert_same_batch(one: Batch, other: Batch) -> None:
    assert (one.sources, one.number, one.num_tokens) == (other.sources, other.number, other.num_tokens)
    assert torch.equal(one.labels, other.labels)
    assert one.inputs.keys() == other.inputs.keys()
    assert all(torch.equal(value, other.inputs[name]) for name, value in one.inputs.items())


def assert_same_steps(parts: Sequence[Steps], whole: Steps) -> None:
    """`parts`: the steps of each process."""
    for steps in parts:
        assert [len(step) for step in steps] == [len(step) for step in whole]
    for number, step in enumerate(whole):
        for place, micro_batch in enumerate(step):
            assert_one_step([steps[number][place] for steps in parts], micro_batch)


@pytest.fixture(scope="module")
def preprocessor_of(tmp_path_factory: pytest.TempPathFactory) -> PreprocessorOf:
    def read(kind: str) -> Preprocessor:
        return read_preprocessor(tiny_folder(kind, tmp_path_factory.mktemp(kind)), media=MediaSettings())

    return cache(read)


@pytest.fixture
def qwen2(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("streams", [False, True])
def test_any_number_of_processes_takes_the_same_steps(
    tmp_path: Path, qwen2: Preprocessor, grouper: Grouper, streams: bool
) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, [BAD, *sound_rows(70), BAD], streams=streams, grouper=grouper)
    (whole,) = (steps_of(one) for one in shares(pipeline, 1))
    if isinstance(grouper, GroupExamples):
        assert [len(step) for step in whole] == [5, 5, 5, 5, 4] * 2
    for num_processes in (2, 3, 4):
        assert_same_steps([steps_of(one) for one in shares(pipeline, num_processes)], whole)


def test_mixtures_of_datasets_and_documents_too(tmp_path: Path, qwen2: Preprocessor) -> None:
    datasets = numbered_datasets(tmp_path, [23, 9])
    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(2))
    mixed = replace(
        pipeline,
        examples=Examples(datasets, build_encoder(qwen2)),
        order=EpochOrder(all_rows(datasets), seed=2, mix=Mix("interleave_over", (0.7, 0.3))),
    )
    books = build_document_pipeline(qwen2, tmp_path, documents(20), grouper=GroupPacks(60, 2))
    for made in (mixed, books):
        (whole,) = (steps_of(one, last_epoch=0) for one in shares(made, 1))
        assert_same_steps([steps_of(one, last_epoch=0) for one in shares(made, 3)], whole)


@pytest.mark.parametrize("grouper", [GroupExamples(3), GroupPacks(200, 2)], ids=str)
def test_another_number_of_processes_goes_on_with_the_next_step(
    tmp_path: Path, qwen2: Preprocessor, grouper: Grouper
) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, sound_rows(60), grouper=grouper)
    whole = steps_of(shares(pipeline, 2)[0])
    (alone,) = (steps_of(one) for one in shares(pipeline, 1))
    for number in range(1, len(whole)):
        place = FeedPosition.from_json(whole[number - 1][-1].after.to_json())
        assert_same_steps([steps_of(one, place) for one in shares(pipeline, 3)], alone[number:])


def mixed_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """Every third row has a picture."""
    pictured = pictured_rows(folder, count)
    return [pictured[number] if number % 3 == 0 else row for number, row in enumerate(sound_rows(count))]


def assert_in_lockstep(parts: Sequence[Steps], whole: Steps) -> None:
    """As many batches everywhere, of the same kinds at every turn; those with a loss are those of `whole`."""
    for number, step in enumerate(whole):
        ran = [[one.batch for one in steps[number] if one.batch is not None] for steps in parts]
        num_turns = -(-len(step) // len(parts))
        assert [len(batches) for batches in ran] == [num_turns] * len(parts)
        for turn in zip(*ran, strict=True):
            assert len({frozenset(batch.inputs) for batch in turn}) == 1
            assert all(batch.num_supervised > 0 for batch in turn)
        real = sorted(
            (batch for batches in ran for batch in batches if not batch.is_filler), key=lambda one: one.number
        )
        expected = [one.batch for one in step if one.batch is not None]
        assert [batch.sources for batch in real] == [batch.sources for batch in expected]
        assert [batch.num_supervised for batch in real] == [batch.num_supervised for batch in expected]
        assert [batch.num_tokens for batch in real] == [batch.num_tokens for batch in expected]
        fillers = [batch for batches in ran for batch in batches if batch.is_filler]
        assert all(batch.num_tokens == 0 and not batch.sources and not batch.samples for batch in fillers)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_in_lockstep_run_the_same_parts_equally_often(
    tmp_path: Path, preprocessor_of: PreprocessorOf, num_processes: int
) -> None:
    processor = preprocessor_of("qwen2_5_vl")
    pipeline = build_pipeline(processor, tmp_path, mixed_rows(tmp_path, 23), grouper=GroupExamples(1))
    (whole,) = (steps_of(one, last_epoch=0) for one in shares(pipeline, 1))
    ranks = in_lockstep(pipeline, processor, num_processes=num_processes, per_step=PER_STEP)
    parts = [steps_of(one, last_epoch=0) for one in ranks]
    assert_in_lockstep(parts, whole)
    kinds = {batch.kinds for steps in parts for step in steps for one in step if (batch := one.batch) is not None}
    assert kinds == {frozenset(), frozenset({"image"})}


def test_a_broken_picture_keeps_step_and_is_told(tmp_path: Path, preprocessor_of: PreprocessorOf) -> None:
    processor = preprocessor_of("qwen2_5_vl")
    pipeline = build_pipeline(processor, tmp_path, mixed_rows(tmp_path, 12), grouper=GroupExamples(1))
    spoil(tmp_path / "6.png")
    (whole,) = (steps_of(one, last_epoch=0) for one in shares(pipeline, 1))
    parts = [steps_of(one, last_epoch=0) for one in in_lockstep(pipeline, processor, num_processes=2, per_step=4)]
    assert_in_lockstep(parts, rejoined(whole, 4))
    told = [LostSamples(), LostSamples()]
    for steps in zip(*parts, strict=True):
        lost = [sample for step in steps for one in step for sample in one.lost]
        settled = [
            [
                (row.ref, row.problem, row.encoded is None)
                for row in rows.settle(outcomes_of(step), lost, ends_epoch=False)
            ]
            for rows, step in zip(told, steps, strict=True)
        ]
        assert settled[0] == settled[1]
        assert [ref for ref, _, is_lost in settled[0] if is_lost] == [sample.ref for sample in lost]
    assert [sample.ref.row for steps in parts for step in steps for one in step for sample in one.lost] == [6]


def outcomes_of(step: Sequence[MicroBatch]) -> list[Outcome]:
    return [outcome for micro_batch in step for outcome in micro_batch.outcomes]


def rejoined(steps: Steps, size: int) -> Steps:
    """The same micro-batches of one epoch in steps of `size`."""
    flat = [one for step in steps for one in step]
    return [flat[start : start + size] for start in range(0, len(flat), size)]


def test_where_a_broken_row_stops_the_run_others_are_not_left_waiting(
    tmp_path: Path, preprocessor_of: PreprocessorOf
) -> None:
    processor = preprocessor_of("qwen2_5_vl")
    rows = mixed_rows(tmp_path, 12)
    pipeline = build_pipeline(processor, tmp_path, rows, grouper=GroupExamples(1), on_bad_row="stop")
    spoil(tmp_path / "6.png")
    parts = [steps_of(one, last_epoch=0) for one in in_lockstep(pipeline, processor, num_processes=2, per_step=4)]
    problems = [one for steps in parts for step in steps for one in step if one.problem is not None]
    assert [str(one.problem).partition(": ")[0].endswith("row 6") for one in problems] == [True]
    assert problems[0].batch is not None and problems[0].batch.is_filler
    assert "pixel_values" in problems[0].batch.inputs
    assert [len([one for one in step if one.batch is not None]) for step in parts[0]] == [2, 2, 2]
