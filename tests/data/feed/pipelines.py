"""Pipelines over numbered rows, some with pictures, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from tests.data.conversations import build_encoder
from tests.data.numbered import numbered_row, write_rows
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.batches.ballast import build_ballast
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.examples import Examples
from tunesmith.data.feed.chosen_rows import all_rows
from tunesmith.data.feed.grouping import GroupExamples
from tunesmith.data.feed.order import EpochOrder
from tunesmith.data.feed.pipeline import FeedPosition, MicroBatch, Pipeline
from tunesmith.data.feed.share import Share
from tunesmith.data.feed.streaming import StreamOrder
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.models.preprocessing.processor import Preprocessor

BAD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]}
_BEGINNING = FeedPosition()


def sound_rows(count: int) -> list[dict[str, Any]]:
    return [numbered_row(number, words=1 + number * 7 % 40) for number in range(count)]


def build_pipeline(
    preprocessor: Preprocessor, folder: Path, rows: Sequence[dict[str, Any]], *, streams: bool = False, **options: Any
) -> Pipeline:
    name = write_rows(folder / "rows.jsonl", rows)
    settings = Settings(data=DataSettings(dataset=name, streaming=streams))
    datasets = open_datasets((name,), settings)
    order = StreamOrder(datasets, seed=1, buffer_size=32) if streams else EpochOrder(all_rows(datasets), seed=1)
    return Pipeline(
        examples=Examples(datasets, build_encoder(preprocessor)),
        order=order,
        collator=Collator(preprocessor, MediaInputs(preprocessor), packed=False),
        **{"grouper": GroupExamples(3), "on_bad_row": "skip", **options},
    )


def rows_of(micro_batch: MicroBatch) -> list[int]:
    return [] if micro_batch.batch is None else [source.row for source in micro_batch.batch.sources]


def consumed(micro_batches: Sequence[MicroBatch]) -> list[int]:
    return [outcome.ref.row for micro_batch in micro_batches for outcome in micro_batch.outcomes]


def in_lockstep(pipeline: Pipeline, preprocessor: Preprocessor, *, num_processes: int, per_step: int) -> list[Pipeline]:
    """The pipeline of each process."""
    ballast = build_ballast(build_encoder(preprocessor), MediaInputs(preprocessor))
    return [
        replace(pipeline, share=Share(rank, num_processes, per_step, lockstep=True), ballast=ballast)
        for rank in range(num_processes)
    ]


def steps_of(pipeline: Pipeline, position: FeedPosition = _BEGINNING, *, last_epoch: int = 1) -> list[list[MicroBatch]]:
    """The micro-batches of each step, as long as the pipeline's share says."""
    steps: list[list[MicroBatch]] = [[]]
    for micro_batch in pipeline.micro_batches(position, last_epoch=last_epoch):
        steps[-1].append(micro_batch)
        if len(steps[-1]) == pipeline.share.per_step or micro_batch.ends_epoch:
            steps.append([])
    assert steps.pop() == []
    return steps


def pictured_rows(folder: Path, count: int) -> list[dict[str, Any]]:
    """Rows with a picture each, 0.png, 1.png, …, of different sizes."""
    for number in range(count):
        Image.effect_noise((40 + 8 * number, 60), 50).convert("RGB").save(folder / f"{number}.png")
    return [
        {
            "messages": [
                {"role": "user", "content": "<image>what?"},
                {"role": "assistant", "content": f"picture {number}"},
            ],
            "images": [str(folder / f"{number}.png")],
        }
        for number in range(count)
    ]


def spoil(picture: Path) -> None:
    """Leave it there, sound from the outside, and broken in its middle."""
    content = bytearray(picture.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    picture.write_bytes(content)
