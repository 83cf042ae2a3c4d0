"""Judged answers beside those of their neighbours, and rows of other stages."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.rows.given import alpaca, refs, write
from tunesmith.chat.message import Media
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.problem import RowError
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import RowRef


def judged(folder: Path, rows: list[Any], *, entry: dict[str, Any] | None = None, **data: Any) -> Dataset:
    """`rows` for stage kto."""
    described = {"file_name": "rows.json", "columns": {"kto_tag": "good"}, **(entry or {})}
    write(folder / "rows.json", rows)
    (folder / "dataset_info.json").write_text(json.dumps({"mine": described}))
    settings = Settings(data=DataSettings(dataset_dir=str(folder), **data), training=TrainingSettings(stage="kto"))
    return open_datasets(["mine"], settings)[0]


def verdicts(count: int) -> list[dict[str, Any]]:
    return [{**row, "good": index % 2 == 0} for index, row in enumerate(alpaca(count))]


def others(dataset: Dataset, found: list[RowRef] | None = None) -> list[str]:
    conversations = [dataset.conversation(ref) for ref in found or refs(dataset)]
    return [row.other_answer.text for row in conversations if row.other_answer]


def test_a_judged_answer_is_compared_with_that_of_the_row_before(tmp_path: Path) -> None:
    dataset = judged(tmp_path, verdicts(4))
    assert others(dataset) == ["a3", "a0", "a1", "a2"]
    assert [dataset.conversation(ref).verdict for ref in refs(dataset)] == [True, False, True, False]
    assert others(pickle.loads(pickle.dumps(dataset)), refs(dataset)) == ["a3", "a0", "a1", "a2"]


def test_rows_that_cannot_be_used_are_passed_over(tmp_path: Path) -> None:
    rows = [*verdicts(4), {"instruction": "q", "output": "", "good": True}]
    rows[1] = "no row"  # type: ignore[call-overload]
    dataset = judged(tmp_path, rows)
    first, third, fourth = (dataset.ref(index) for index in (0, 2, 3))
    assert others(dataset, [first, third, fourth]) == ["a3", "a0", "a2"]


def test_only_the_used_rows_of_a_file_are_compared_with(tmp_path: Path) -> None:
    assert others(judged(tmp_path, verdicts(9), max_samples=3)) == ["a2", "a0", "a1"]
    drawn = judged(tmp_path, verdicts(9), entry={"num_samples": 4}, max_samples=2)
    assert others(drawn) == [f"a{(number - 1) % 9}" for number in drawn.numbers.tolist()]


def test_one_usable_row_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    dataset = judged(tmp_path, [*verdicts(1), "no row"])
    with pytest.raises(
        RowError, match="no other answer: no other row of this file can be used, and stage: kto compares"
    ):
        dataset.conversation(dataset.ref(0))


def test_caches_know_a_judged_row_by_its_neighbour_too(tmp_path: Path) -> None:
    before = judged(tmp_path, verdicts(4))
    raws = [before.raw(ref) for ref in refs(before)]
    assert len(set(raws)) == 4
    changed = verdicts(4)
    changed[1]["output"] = "another"
    after = judged(tmp_path, changed)
    assert [new == old for new, old in zip(map(after.raw, refs(after)), raws, strict=True)] == [
        True,
        False,
        False,
        True,
    ]


def test_the_layout_key_tells_stages_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.json", alpaca(3))
    keys = [
        open_datasets([path], Settings(training=TrainingSettings(stage=stage)))[0].layout_key
        for stage in ("sft", "grpo")
    ]
    assert len(set(keys)) == 2


def test_rlhf_v_as_a_parquet_file_of_its_own(tmp_path: Path) -> None:
    """The shape of llamafactory/RLHF-V: pictures as bytes, several of them, several turns."""
    row = {
        "conversations": [
            {"from": "human", "value": "<image>What?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "And <image>?"},
        ],
        "chosen": {"from": "gpt", "value": "A dog."},
        "rejected": {"from": "gpt", "value": "Two dogs."},
        "images": [{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": "2.jpg"}],
    }
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "rows.parquet")
    settings = Settings(training=TrainingSettings(stage="dpo"))
    (dataset,) = open_datasets([str(tmp_path / "rows.parquet")], settings)
    conversation = dataset.conversation(dataset.ref(1))
    assert list(conversation.media()) == [Media("image", b"one"), Media("image", b"two")]
    assert (conversation.messages[-1].text, conversation.source.row) == ("A dog.", 1)
    assert conversation.other_answer is not None and conversation.other_answer.text == "Two dogs."
