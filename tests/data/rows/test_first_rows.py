"""How many rows decide the layout of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.store.reading import written
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.rows import first_rows
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.data.rows.first_rows import find_layout, read_first_rows
from tunesmith.data.rows.sources import DataFile
from tunesmith.errors import DataError, UsageError


def num_read(path: Path, at_most: int | None = None) -> int:
    return len(read_first_rows(DatasetEntry("mine", path), [DataFile(str(path), path)] * 2, at_most=at_most))


def test_a_thousand_rows_or_fewer_over_all_files(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.json", json.dumps([{"n": n} for n in range(600)]))
    assert num_read(path) == 1000
    assert num_read(path, at_most=7) == 7


def test_rows_that_are_no_objects_show_nothing(tmp_path: Path) -> None:
    assert num_read(written(tmp_path / "rows.json", '[1, {"a": 2}, "x"]')) == 2


def test_a_few_rows_with_large_media_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_rows, "_MAX_MEDIA_BYTES", 1000)
    pq.write_table(pa.Table.from_pylist([{"images": [b"x" * 600]}] * 9), tmp_path / "rows.parquet")
    assert num_read(tmp_path / "rows.parquet") == 2


def test_no_rows_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset mine: .*rows\.json has no rows"):
        num_read(written(tmp_path / "rows.json", "[]"))


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path: Path) -> None:
    file = tmp_path / "open.csv"
    file.write_text('instruction,output\n"never closed,1\nb,2\n')
    with pytest.raises(DataError, match=r"none of the first rows of .*open\.csv can be read: .+"):
        num_read(file)


PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}


def layout_of(row: dict[str, Any], stage: str) -> Layout:
    return find_layout(DatasetEntry("mine", Path("rows.json")), [row], stage=stage)


def test_the_stage_decides_what_is_looked_for() -> None:
    assert layout_of(PAIR, "simpo").rows == "pairs"
    assert layout_of({"text": "a", "messages": [{"role": "user", "content": "b"}]}, "pt").rows == "documents"
    assert layout_of({"prompt": "a"}, "grpo").rows == "prompts"
    assert layout_of({"prompt": "a", "completion": "b", "label": True}, "kto").columns.kto_tag == "label"


def test_rows_for_another_stage_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"dataset mine holds chosen and rejected answers .* stage: sft .* stage: dpo"):
        layout_of(PAIR, "sft")
    with pytest.raises(
        UsageError, match=r"dataset mine holds questions with their answers .*; stage: rm needs columns"
    ):
        layout_of({"prompt": "a", "response": "b"}, "rm")
    with pytest.raises(DataError, match=r"dataset mine: no format fits rows with the keys a; expected plain text in a"):
        layout_of({"a": 1}, "pt")


@pytest.mark.parametrize("key", ["chosen", "rejected", "kto_tag"])
def test_a_named_column_of_answers_that_no_row_has_is_an_error(key: str) -> None:
    holds: Any = "verdicts" if key == "kto_tag" else "pairs"
    columns = Columns(prompt="prompt", **({"chosen": "chosen", "rejected": "rejected"} | {key: "chosn"}))
    entry = DatasetEntry("mine", Path("rows.json"), Layout(columns=columns), holds=holds)
    with pytest.raises(DataError, match=f"no row has the column 'chosn' that `columns` names for {key}; did you mean"):
        find_layout(entry, [PAIR], stage="kto" if key == "kto_tag" else "dpo")
