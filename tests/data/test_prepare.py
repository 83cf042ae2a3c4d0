"""From settings to examples: read, encoded, split, accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.rows import assistant, build_encoder, conversation, user
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.prepare import PreparedData, hold_out, prepare_data
from tunesmith.errors import DataError, UsageError
from tunesmith.models.processor import Preprocessor

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
    return prepare_data(Settings(data=DataSettings(dataset=dataset, **data)), preprocessor)


@pytest.fixture
def qwen2(preprocessor_of: PreprocessorOf) -> Preprocessor:
    return preprocessor_of("qwen2")


def test_every_row_is_accounted_for(tmp_path: Path, qwen2: Preprocessor) -> None:
    dataset = write_rows(tmp_path, [GOOD, LONG, BAD, SILENT, GOOD])
    prepared = prepare(qwen2, dataset, on_bad_row="skip", cutoff_len=60)

    assert [example.source.row for example in prepared.train] == [0, 1, 4]
    assert [example.truncated for example in prepared.train] == [False, True, False]
    assert prepared.eval is None
    (counts,) = prepared.report.datasets
    assert (counts.rows_read, counts.rows_kept, counts.cut, counts.dropped, counts.skipped) == (5, 3, 1, 0, 2)
    assert [(row.source.row, row.kind) for row in prepared.report.cut] == [(1, "turns cut")]
    assert [row.source.row for row in prepared.report.skipped] == [2, 3]


def test_all_bad_rows_are_listed_before_training(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(DataError, match=r"2 of 4 rows cannot be used") as raised:
        prepare(qwen2, write_rows(tmp_path, [GOOD, BAD, SILENT, GOOD]))
    assert "row 1: " in str(raised.value) and "row 2: nothing to learn" in str(raised.value)
    assert "on_bad_row: skip" in str(raised.value)


def test_rows_left_out_for_their_length_stop_nothing(tmp_path: Path, qwen2: Preprocessor) -> None:
    prepared = prepare(qwen2, write_rows(tmp_path, [GOOD, LONG]), cutoff_len=60, overlong="drop")
    assert len(prepared.train) == 1
    assert [row.source.row for row in prepared.report.dropped] == [1]


def test_no_row_left_is_an_error_that_says_why(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(DataError, match=r"no usable row is left of .*the first: .*row 0: dropped as too long"):
        prepare(qwen2, write_rows(tmp_path, [LONG]), cutoff_len=60, overlong="drop")


def test_held_out_rows_are_drawn_by_seed_and_never_trained_on(tmp_path: Path, qwen2: Preprocessor) -> None:
    dataset = write_rows(tmp_path, [GOOD] * 20)
    first, again, number = (prepare(qwen2, dataset, val_size=size) for size in (0.1, 0.1, 3))
    rows = [[example.source.row for example in part or ()] for part in (first.train, first.eval)]
    assert [len(part) for part in rows] == [18, 2] and sorted(rows[0] + rows[1]) == list(range(20))
    assert rows[1] == [example.source.row for example in again.eval or ()]
    assert len(number.eval or ()) == 3
    assert first.report.eval is not None and first.report.eval.rows == 2


def test_a_row_drawn_several_times_is_on_one_side(qwen2: Preprocessor) -> None:
    encoder = build_encoder(qwen2)
    examples = [encoder.encode(conversation(user("a"), assistant("b"), row=row % 3)) for row in range(9)]
    train, held_out = hold_out(examples, val_size=0.3, seed=0)
    assert len(held_out) == 1 and len(train) == 6
    assert held_out[0].source not in {example.source for example in train}


def test_holding_out_everything_is_a_usage_error(tmp_path: Path, qwen2: Preprocessor) -> None:
    with pytest.raises(UsageError, match="val_size 3 holds out all of the 3 rows"):
        prepare(qwen2, write_rows(tmp_path, [GOOD] * 3), val_size=3)


def test_eval_datasets_are_kept_apart(tmp_path: Path, qwen2: Preprocessor) -> None:
    held_out = write_rows(tmp_path, [GOOD] * 2, "held_out.jsonl")
    prepared = prepare(qwen2, write_rows(tmp_path, [GOOD] * 5), eval_dataset=held_out)
    assert (len(prepared.train), len(prepared.eval or ())) == (5, 2)
    assert [dataset.used_for for dataset in prepared.report.datasets] == ["train", "eval"]
    with pytest.raises(UsageError, match="eval_dataset and val_size"):
        prepare(qwen2, write_rows(tmp_path, [GOOD] * 5), eval_dataset=held_out, val_size=0.2)


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
    assert max(len(example) for example in prepared.train) <= 1024
    batch = prepared.collator([example for example in prepared.train if example.media][:2])
    assert batch.inputs["pixel_values"].shape[0] == 4 * int((batch.inputs["input_ids"] == 521).sum())
