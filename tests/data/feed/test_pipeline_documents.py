"""Documents on their way to batches: every piece once, every document accounted for once, from any position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.numbered import write_rows
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.examples import Examples
from tunesmith.data.feed.chosen_rows import all_rows
from tunesmith.data.feed.grouping import (
    GroupByLength,
    GroupByTokens,
    Grouper,
    GroupExamples,
    GroupPacks,
    count_micro_batches,
)
from tunesmith.data.feed.order import EpochOrder
from tunesmith.data.feed.pipeline import FeedPosition, MicroBatch, Pipeline
from tunesmith.data.feed.streaming import StreamOrder
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
CUTOFF = 60
GROUPERS: list[Grouper] = [GroupExamples(3), GroupByLength(3), GroupByTokens(150), GroupPacks(CUTOFF, 2)]
BAD: dict[str, Any] = {"text": " "}


def documents(count: int) -> list[dict[str, Any]]:
    """From a few words to several pieces, no two the same."""
    return [{"text": f"number {number}: " + f"word {number} " * (number * 7 % 40)} for number in range(count)]


def build_pipeline(
    preprocessor: Preprocessor, folder: Path, rows: Sequence[dict[str, Any]], *, streams: bool = False, **options: Any
) -> Pipeline:
    name = write_rows(folder / "rows.jsonl", rows)
    data = DataSettings(dataset=name, streaming=streams, cutoff_len=CUTOFF)
    datasets = open_datasets((name,), Settings(data=data, training=TrainingSettings(stage="pt")))
    order = StreamOrder(datasets, seed=1, buffer_size=32) if streams else EpochOrder(all_rows(datasets), seed=1)
    encoder = Encoder(preprocessor, build_template(preprocessor, data, "documents"), data, "documents")
    return Pipeline(
        examples=Examples(datasets, encoder),
        order=order,
        collator=Collator(preprocessor, MediaInputs(preprocessor), packed=True),
        **{"grouper": GroupExamples(3), "on_bad_row": "skip", **options},
    )


def samples_of(micro_batch: MicroBatch) -> list[tuple[int, ...]]:
    """The ids of each sample of a batch."""
    if micro_batch.batch is None:
        return []
    ids, samples = micro_batch.batch.inputs["input_ids"][0].tolist(), []
    for length in micro_batch.batch.lengths:
        samples.append(tuple(ids[:length]))
        ids = ids[length:]
    return samples


def consumed(micro_batches: Sequence[MicroBatch]) -> list[int]:
    return [outcome.ref.row for micro_batch in micro_batches for outcome in micro_batch.outcomes]


@pytest.fixture
def qwen2(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("streams", [False, True])
def test_every_piece_comes_once_an_epoch_and_every_document_is_accounted_for_once(
    tmp_path: Path, qwen2: Preprocessor, grouper: Grouper, streams: bool
) -> None:
    rows = [BAD, *documents(40), BAD]
    made = [
        list(
            build_pipeline(qwen2, tmp_path, rows, streams=streams, grouper=grouper, **options).micro_batches(
                last_epoch=1
            )
        )
        for options in ({}, {"num_workers": 1, "ahead": 2})
    ]
    assert list(map(samples_of, made[0])) == list(map(samples_of, made[1]))
    expected: Counter[tuple[int, ...]] = Counter()
    for outcome in (outcome for one in made[0] for outcome in one.outcomes if outcome.encoded is not None):
        expected.update(tuple(sample.input_ids.tolist()) for sample in outcome.encoded.samples())
    assert Counter(sample for one in made[0] for sample in samples_of(one)) == expected
    end = next(number for number, one in enumerate(made[0], start=1) if one.ends_epoch)
    for part in (made[0][:end], made[0][end:]):
        assert sorted(consumed(part)) == list(range(42))


def test_a_document_is_used_up_with_its_last_piece(tmp_path: Path, qwen2: Preprocessor) -> None:
    rows = [{"text": "a long document " * 40}, {"text": "a short one"}]
    pipeline = build_pipeline(qwen2, tmp_path, rows, grouper=GroupExamples(2))
    micro_batches = list(pipeline.micro_batches(last_epoch=0))
    assert len(micro_batches) > 3
    rows_left = {0, 1}
    for number, micro_batch in enumerate(micro_batches):
        rows_left -= set(consumed([micro_batch]))
        later = {
            source.row for one in micro_batches[number + 1 :] if one.batch is not None for source in one.batch.sources
        }
        assert later == rows_left


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("streams", [False, True])
def test_a_feed_goes_on_in_the_middle_of_a_document(
    tmp_path: Path, qwen2: Preprocessor, grouper: Grouper, streams: bool
) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, documents(25), streams=streams, grouper=grouper)
    whole = list(pipeline.micro_batches(last_epoch=1))
    for number in range(1, len(whole), 3):
        saved = FeedPosition.from_json(whole[number - 1].after.to_json())
        rest = list(pipeline.micro_batches(saved, last_epoch=1))
        assert list(map(samples_of, rest)) == list(map(samples_of, whole[number:]))
        assert consumed(rest) == consumed(whole[number:])


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
def test_micro_batches_of_documents_can_be_counted(tmp_path: Path, qwen2: Preprocessor, grouper: Grouper) -> None:
    pipeline = build_pipeline(qwen2, tmp_path, [*documents(60), BAD], grouper=grouper)
    refs = [ref for chunk in pipeline.order.chunks(FeedPosition(), size=100) for ref in chunk.refs]
    rows = [
        () if outcome.encoded is None else outcome.encoded.sample_lengths
        for outcome in pipeline.examples.outcomes(refs)
    ]
    made = list(pipeline.micro_batches(last_epoch=0))
    assert len(made) == count_micro_batches(rows, grouper, is_first_epoch=True)
    assert all(max(one.batch.lengths) <= CUTOFF for one in made if one.batch is not None)


def test_packs_are_nearly_full(tmp_path: Path, qwen2: Preprocessor) -> None:
    made = list(
        build_pipeline(qwen2, tmp_path, documents(60), grouper=GroupPacks(CUTOFF, 1)).micro_batches(last_epoch=0)
    )
    tokens = [one.batch.num_tokens for one in made if one.batch is not None]
    assert max(tokens) <= CUTOFF and sum(tokens) / len(tokens) > 0.97 * CUTOFF


@pytest.fixture
def broken_second(preprocessor_of: PreprocessorOf, tmp_path: Path) -> Callable[..., Pipeline]:
    """A document of two pieces with a picture each; the second picture is sound from the outside and ends early."""
    for number in range(2):
        Image.effect_noise((120, 120), 50).convert("RGB").save(tmp_path / f"{number}.png")
    text = "<image>" + "all about the first one " * 3 + "<image>" + "the second."

    def build(**options: Any) -> Pipeline:
        rows = [{"text": text, "images": [str(tmp_path / "0.png"), str(tmp_path / "1.png")]}]
        pipeline = build_pipeline(preprocessor_of("qwen2_5_vl"), tmp_path, rows, grouper=GroupExamples(1), **options)
        refs = next(pipeline.order.chunks(FeedPosition(), size=1)).refs
        assert pipeline.examples.outcomes(refs)[0].encoded is not None  # the first row is tried on the processor whole
        content = bytearray((tmp_path / "1.png").read_bytes())
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
        (tmp_path / "1.png").write_bytes(content)
        return pipeline

    return build


def test_a_piece_whose_picture_broke_is_left_out_and_told_of(broken_second: Callable[..., Pipeline]) -> None:
    micro_batches = list(broken_second().micro_batches(last_epoch=0))
    assert [one.batch is None for one in micro_batches].count(True) == 1
    (outcome,) = [outcome for one in micro_batches for outcome in one.outcomes]
    assert outcome.problem is None and outcome.cut is not None
    assert outcome.cut.startswith("samples cut: ") and "1.png" in outcome.cut


def test_a_picture_that_broke_stops_the_feed_naming_the_document(broken_second: Callable[..., Pipeline]) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl, row 0: .*1.png.*\n.*on_bad_row: skip"):
        list(broken_second(on_bad_row="stop").micro_batches(last_epoch=0))
