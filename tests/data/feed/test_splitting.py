"""A batch made again of some of its samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.feed.pipelines import build_pipeline, in_lockstep, pictured_rows, sound_rows
from tests.data.feed.test_turns import sample
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.feed.grouping import GroupExamples
from tunesmith.data.feed.pipeline import Pipeline
from tunesmith.data.feed.splitting import halves
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


def of_lengths(*lengths: int) -> list[int]:
    """How many samples the first part has."""
    samples = [sample(row) for row in range(len(lengths))]
    longer = [
        replace(one, input_ids=np.arange(length), labels=np.arange(length))
        for one, length in zip(samples, lengths, strict=True)
    ]
    parts = halves(longer)
    return [] if parts is None else [len(part) for part in parts]


def test_both_parts_have_about_as_many_tokens() -> None:
    assert of_lengths(1, 1, 1, 1) == [2, 2]
    assert of_lengths(9, 1, 1, 1) == [1, 3]
    assert of_lengths(1, 1, 1, 9) == [3, 1]
    assert of_lengths(5, 5) == [1, 1]
    assert of_lengths(5) == of_lengths() == []


@pytest.fixture
def pictured(preprocessor_of: PreprocessorOf, tmp_path: Path) -> Pipeline:
    return build_pipeline(preprocessor_of("qwen2_5_vl"), tmp_path, pictured_rows(tmp_path, 4), grouper=GroupExamples(4))


def only_batch(pipeline: Pipeline) -> Batch:
    (made,) = list(pipeline.micro_batches(last_epoch=0))
    assert made.batch is not None
    return made.batch


def test_the_parts_are_the_batch(pictured: Pipeline) -> None:
    batch = only_batch(pictured)
    parts = pictured.split(batch)
    assert parts is not None
    assert parts[0].sources + parts[1].sources == batch.sources
    assert parts[0].samples + parts[1].samples == batch.samples
    assert sum(part.num_supervised for part in parts) == batch.num_supervised
    assert sum(part.num_tokens for part in parts) == batch.num_tokens
    pixels = torch.cat([part.inputs["pixel_values"] for part in parts])
    assert torch.equal(pixels, batch.inputs["pixel_values"])
    smallest = pictured.make(batch.samples[:1], number=3)
    assert (smallest.sources, smallest.number) == (batch.sources[:1], 3)
    assert pictured.split(smallest) is None


def test_a_picture_that_is_gone_meanwhile_names_its_row(
    pictured: Pipeline, preprocessor_of: PreprocessorOf, tmp_path: Path
) -> None:
    batch = only_batch(replace(pictured, on_bad_row="skip"))
    (tmp_path / "2.png").write_bytes(b"no picture")
    processor = preprocessor_of("qwen2_5_vl")
    forgetful = replace(pictured, collator=Collator(processor, MediaInputs(processor), packed=False))
    with pytest.raises(DataError, match=r"rows.jsonl, row 2: .*2.png"):
        forgetful.make(batch.samples)


def test_parts_keep_step_where_the_batch_did(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    processor = preprocessor_of("qwen2_5_vl")
    rows = [*sound_rows(2), *pictured_rows(tmp_path, 2)]
    whole = build_pipeline(processor, tmp_path, rows, grouper=GroupExamples(4))
    (pipeline,) = in_lockstep(whole, processor, num_processes=1, per_step=1)
    batch = only_batch(pipeline)
    for one in batch.samples:
        part = pipeline.make([one], kinds=batch.kinds)
        assert "pixel_values" in part.inputs and not part.is_filler
        assert part.sources == (one.source,) and part.num_tokens == len(one)
