"""Files of every kind give the same rows, and broken ones are named by file, row, line and column."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.chat.message import RowSource
from tunesmith.data.json_rows import Unreadable
from tunesmith.data.sources import iterate_rows
from tunesmith.errors import DataError

ROWS: list[dict[str, Any]] = [{"q": "你好", "a": "1"}, {"q": "two\nlines", "a": "2"}]


def values(path: Path) -> list[Any]:
    return [value for _, value in iterate_rows(path)]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", json.dumps(ROWS)),
        ("pretty.json", json.dumps(ROWS, indent=2, ensure_ascii=False)),
        ("windows.json", "\ufeff" + json.dumps(ROWS, ensure_ascii=False)),
        ("lines.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("blank.jsonl", "\n\n" + "\r\n\r\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
        ("lines.json", "\n".join(json.dumps(row) for row in ROWS)),
        ("list.jsonl", json.dumps(ROWS)),
        ("table.csv", 'q,a\n你好,1\n"two\nlines",2\n'),
        ("packed.jsonl.gz", gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode())),
    ],
)
def test_text_files(tmp_path: Path, name: str, text: str | bytes) -> None:
    assert values(written(tmp_path / name, text)) == ROWS


def test_rows_know_where_they_stand(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.json", json.dumps(ROWS))
    assert [source for source, _ in iterate_rows(path)] == [RowSource(str(path), 0), RowSource(str(path), 1)]


def test_rows_may_differ_in_keys_and_types(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"a": "x", "b": [1, "y", None]}, {"c": {"d": {}}}]
    assert values(written(tmp_path / "mixed.json", json.dumps(rows))) == rows


def test_plain_text_is_a_row_a_line(tmp_path: Path) -> None:
    assert values(written(tmp_path / "wiki.txt", "one\r\ntwo\n")) == [{"text": "one"}, {"text": "two"}]


def test_parquet_and_both_kinds_of_arrow_without_the_nulls_of_other_rows(tmp_path: Path) -> None:
    rows = [{"m": [{"x": 1}], "image": {"bytes": b"png"}}, {"m": [{"y": "b"}, {"x": 2}]}]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("rows.parquet", "file.arrow", "stream.arrow"):
        assert values(tmp_path / name) == rows


def test_a_folder_is_its_files_in_order_without_what_is_hidden_or_no_data(tmp_path: Path) -> None:
    for name, rows in (("b.json", ROWS[1:]), ("a.json", ROWS[:1])):
        written(tmp_path / name, json.dumps(rows))
    written(tmp_path / ".hidden.json", "{")
    written(tmp_path / "README.md", "# rows")
    (tmp_path / "images").mkdir()
    assert [(Path(source.file).name, source.row) for source, _ in iterate_rows(tmp_path)] == [
        ("a.json", 0),
        ("b.json", 0),
    ]


def test_a_dataset_saved_to_disk_is_a_folder(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert values(tmp_path / "saved") == ROWS


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}', 1, "line 2, column 8: the line ends in the middle of the row"),
        ('{"a": 1}\n{a: 2}\n{"a": 3}', 1, "line 2, column 2: not JSON: Expecting property name"),
        ('{"a": 1}\n{"a": 2}\n{"a": "tex', 2, "line 3, column 7: the line ends in the middle of the row"),
        ("{a}\n", 0, "line 1, column 2: not JSON"),
        ('{"a": 1}\n{"n": ' + "9" * 5000 + "}\n", 1, "line 2: a whole number with too many digits"),
        ('{"a": 1}\n{"a": ' + "[" * 100_000 + "\n", 1, "line 2: nested too deeply"),
    ],
)
def test_a_broken_line_stands_in_its_place(tmp_path: Path, text: str, row: int, reason: str) -> None:
    found = values(written(tmp_path / "rows.jsonl", text))
    assert isinstance(found[row], Unreadable)
    assert found[row].reason.startswith(reason)
    assert all(isinstance(value, dict) for index, value in enumerate(found) if index != row)


def test_csv_rows_of_another_width_stand_in_their_place(tmp_path: Path) -> None:
    found = values(written(tmp_path / "rows.csv", "q,a\n1,2\n3\n4,5,6\n"))
    assert found == [
        {"q": "1", "a": "2"},
        Unreadable("line 3: 1 fields, the header has 2"),
        Unreadable("line 4: 3 fields, the header has 2"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "cut.json",
            '[{"a": 1},\n{"a": "tw',
            "cut.json, line 2, column 7 (row 1): the file ends in the middle of the row",
        ),
        ("cut.json", '[{"a": 1},\n', "cut.json, line 2, column 1 (row 1): the file ends in the middle of the row"),
        ("cut.json", '[{"a": 1}', "cut.json, line 1, column 10 (row 0): the file ends in the middle of the row"),
        ("comma.json", '[{"a": 1}\n{"a": 2}]', "comma.json, line 2, column 1 (row 0): not JSON: expected , or ]"),
        ("two.json", "[{}]\n[{}]", "two.json, line 2, column 1 (row 1): not JSON: text after the closing ]"),
        ("digits.json", '[{"n": ' + "9" * 5000 + "}]", "digits.json, row 0: a whole number with too many digits"),
        ("deep.json", "[" * 100_000, "deep.json, row 0: nested too deeply"),
        ("quote.json", "[{'a': 1}]", "quote.json, line 1, column 3 (row 0): not JSON: Expecting property name"),
        (
            "one.json",
            '{"data": [1], "n": 2}',
            "keys data, n; expected a list of rows [{…}, …]. If the rows are under 'data'",
        ),
        ("one.json", '{\n"q": "a"\n}', "one.json is one JSON object with the keys q; expected a list of rows"),
        ("pretty.jsonl", '{\n"q": "a"\n}', "pretty.jsonl is one JSON object with the keys q"),
        ("page.json", "<html>", "page.json begins with '<html>'; expected JSON rows"),
        ("empty.json", "", "empty.json is empty; expected JSON rows"),
        ("empty.jsonl", " \n\n", "empty.jsonl is empty; expected JSON rows"),
        ("gbk.json", '[{"a": "你好"}]'.encode("gbk"), "gbk.json is not UTF-8 (byte 8: invalid"),
        ("bad.jsonl.gz", b"no gzip", "bad.jsonl.gz cannot be read (Not a gzipped file"),
        ("bad.parquet", b"PAR1", "bad.parquet is not a sound Parquet file"),
        ("bad.arrow", b"nothing", "bad.arrow is not a sound Arrow file"),
        ("rows.xlsx", b"", "rows.xlsx: files ending in .xlsx are not read; expected .json, .jsonl, .csv, .parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, text: str | bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        values(written(tmp_path / name, text))
    assert reason in str(caught.value)


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        values(tmp_path / "gone")
    with pytest.raises(DataError, match="holds no data files"):
        values(tmp_path)
    written(tmp_path / "a.json", "[]")
    written(tmp_path / "b.csv", "q\n")
    with pytest.raises(DataError, match="mixes csv and json files"):
        values(tmp_path)
