"""From settings to rows in order: opened, split, the first of them looked at."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.prepare import PreparedData, prepare_data
from tunesmith.data.report import first_look
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError, UsageError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
DEMO = Path(__file__).parents[3] / "shared" / "data" / "llamafactory_demo"

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}
LONG = {
    "messages": [
        *GOOD["messages"],
        {"role": "user", "content": "more " * 50},
        {"role": "assistant", "content": "words " * 50},
    ]
}
BAD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]}
SILENT = {"messages": [GOOD["messages"][0], {**GOOD["messages"][1], "loss": False}]}


def write_rows(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def prepare(preprocessor: Preprocessor, dataset: str, **data: Any) -> PreparedData:
    training = TrainingSettings(disable_shuffling=True)
    return prepare_data(Settings(data=DataSettings(dataset=dataset, **data), training=training), preprocessor)


def rows_of(order: Order | None) -> list[int]:
    """The numbers of an epoch's rows."""
    return [ref.row for ref in refs_of(order)]


def refs_of(order: Order | None) -> list[RowRef]:
    assert order is not None
    return list(chain.from_iterable(chunk.refs for chunk in order.chunks(FeedPosition(), size=7)))


@pytest.fixture
def qwen2(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


def test_every_row_is_accounted_for(tmp_path: Path, qwen2: Preprocessor) -> None:
    dataset = write_rows(tmp_path, [GOOD, LONG, BAD, SILENT, GOOD])
    prepared = prepare(qwen2, dataset, on_bad_row="skip", cutoff_len=60)

    assert rows_of(prepared.train) == [0, 1, 2, 3, 4]
    assert [bool(lengths) for lengths in prepared.first.parts[0].lengths.values()] == [True, True, False, False, True]
    assert (prepared.held_out, prepared.first.complete) == (None, True)
    (counts,) = prepared.report.datasets
    assert (counts.rows_read, counts.rows_kept, counts.cut, counts.dropped, counts.skipped) == (5, 3, 1, 0, 2)
    assert [row.source.row for reason in prepared.report.skipped for row in reason.examples] == [2, 3]
    assert prepared.report.complete


def test_all_bad_rows_are_listed_before_training(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(DataError, match=r"2 of 4 rows cannot be used") as raised:
        prepare(qwen2, write_rows(tmp_path, [GOOD, BAD, SILENT, GOOD]))
    assert "row 1: " in str(raised.value) and "row 2: nothing to learn" in str(raised.value)
    assert "on_bad_row: skip" in str(raised.value)


def test_only_the_first_rows_are_looked_at(
    tmp_path: Path, qwen2: Preprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.data.prepare.NUM_FIRST_ROWS", 3)
    prepared = prepare(qwen2, write_rows(tmp_path, [GOOD] * 4 + [BAD]))
    assert (prepared.report.rows_read, prepared.report.num_rows) == (3, 5)
    assert not prepared.report.complete and not prepared.first.complete
    assert [ref.row for ref in sorted(prepared.first.refs, key=lambda ref: ref.row)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used"):
        prepare(qwen2, write_rows(tmp_path, [GOOD, BAD] + [GOOD] * 9))


def test_rows_left_out_for_their_length_stop_nothing(tmp_path: Path, qwen2: Preprocessor) -> None:
    prepared = prepare(qwen2, write_rows(tmp_path, [GOOD, LONG]), cutoff_len=60, overlong="drop")
    assert prepared.report.train.rows == 1
    assert prepared.first.usable_share == 0.5
    assert [reason.examples[0].source.row for reason in prepared.report.dropped] == [1]


def test_no_row_left_is_an_error_that_says_why(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(DataError, match=r"no usable row is left of .*the first: .*row 0: dropped as too long"):
        prepare(qwen2, write_rows(tmp_path, [LONG]), cutoff_len=60, overlong="drop")


def test_held_out_rows_are_drawn_by_seed_and_never_trained_on(tmp_path: Path, qwen2: Preprocessor) -> None:
    dataset = write_rows(tmp_path, [GOOD] * 20)
    first, again, number = (prepare(qwen2, dataset, val_size=size) for size in (0.1, 0.1, 3))
    train, held_out = rows_of(first.train), rows_of(first.held_out)
    assert (len(train), len(held_out)) == (18, 2)
    assert sorted(train + held_out) == list(range(20))
    assert held_out == rows_of(again.held_out)
    assert len(rows_of(number.held_out)) == 3
    assert first.report.eval is not None and first.report.eval.rows == 2
    assert first.report.train.rows == 18


def test_holding_out_everything_is_a_usage_error(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(UsageError, match="val_size 3 holds out all of the 3 rows"):
        prepare(qwen2, write_rows(tmp_path, [GOOD] * 3), val_size=3)


def test_eval_datasets_are_kept_apart(tmp_path: Path, qwen2: Preprocessor) -> None:
    held_out = write_rows(tmp_path, [GOOD] * 2, "held_out.jsonl")
    prepared = prepare(qwen2, write_rows(tmp_path, [GOOD] * 5), eval_dataset=held_out)
    assert [ref.dataset for ref in refs_of(prepared.train)] == [0] * 5
    assert [ref.dataset for ref in refs_of(prepared.held_out)] == [1] * 2
    assert [dataset.used_for for dataset in prepared.report.datasets] == ["train", "eval"]
    with pytest.raises(UsageError, match="eval_dataset and val_size"):
        prepare(qwen2, write_rows(tmp_path, [GOOD] * 5), eval_dataset=held_out, val_size=0.2)


def test_a_stream_is_not_counted(tmp_path: Path, qwen2: Preprocessor) -> None:
    dataset = write_rows(tmp_path, [GOOD] * (first_look.NUM_FIRST_ROWS + 500))
    prepared = prepare(qwen2, dataset, streaming=True)
    assert (prepared.report.rows_read, prepared.report.num_rows) == (first_look.NUM_FIRST_ROWS, None)
    assert prepared.train.num_rows(0) is None
    assert len(rows_of(prepared.train)) == first_look.NUM_FIRST_ROWS + 500


def test_the_first_rows_of_streams_are_held_out(tmp_path: Path, qwen2: Preprocessor) -> None:
    files = [write_rows(tmp_path, [GOOD] * count, f"{count}.jsonl") for count in (7, 5)]
    prepared = prepare(qwen2, ",".join(files), streaming=True, val_size=3, mix_strategy="interleave_once")
    assert [(ref.dataset, ref.row) for ref in refs_of(prepared.held_out)] == [(0, 0), (0, 1), (1, 0)]
    trained = sorted((ref.dataset, ref.row) for ref in refs_of(prepared.train))
    assert trained == [(0, row) for row in range(2, 7)] + [(1, row) for row in range(1, 5)]
    assert prepared.report.eval is not None
    assert (prepared.report.train.rows, prepared.report.eval.rows) == (9, 3)
    with pytest.raises(UsageError, match=r"val_size 12 holds out all of the 5 rows of .*5\.jsonl; lower it"):
        prepare(qwen2, ",".join(files), streaming=True, val_size=12)


def test_what_would_waste_the_run_is_said_at_once(
    tmp_path: Path, qwen2: Preprocessor, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("tunesmith").propagate = True
    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        prepare(qwen2, write_rows(tmp_path, [GOOD] * 200))
    assert any("same" in record.message for record in caplog.records)


@pytest.mark.skipif(not DEMO.is_dir(), reason="needs the demo datasets of ../shared")
def test_llama_factorys_demo_datasets(preprocessor_of: PreprocessorOf) -> None:
    names = "mllm_demo,identity,alpaca_zh_demo,alpaca_en_demo,glaive_toolcall_zh_demo"
    prepared = prepare(
        preprocessor_of("qwen2_5_vl"),
        names,
        dataset_dir=str(DEMO),
        template="qwen2_vl",
        max_samples=50,
        cutoff_len=1024,
        val_size=0.1,
    )
    assert sum(dataset.rows_read for dataset in prepared.report.datasets) == 206
    assert prepared.report.train.media + (prepared.report.eval.media if prepared.report.eval else 0) == 8
    assert prepared.report.train.lengths.longest <= 1024
    pictured = [example for example in prepared.first.samples if example.media][:2]
    media = [prepared.examples.media(example) for example in pictured]
    batch = prepared.collator(packed=False)(pictured, media)
    assert batch.inputs["pixel_values"].shape[0] == 4 * int((batch.inputs["input_ids"] == 521).sum())
