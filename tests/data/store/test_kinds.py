"""Files of every kind give the same rows; what is no data file, or not what its name says, is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.store.reading import ROWS, addresses, rows_of, written
from tunesmith.data.store.kinds import kind_of, open_row_file
from tunesmith.data.store.row_file import Unreadable
from tunesmith.errors import DataError

LINES = "\n".join(json.dumps(row) for row in ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", json.dumps(ROWS)),
        ("pretty.json", json.dumps(ROWS, indent=2, ensure_ascii=False)),
        ("lines.jsonl", LINES),
        ("lines.json", LINES),
        ("list.jsonl", json.dumps(ROWS)),
        ("table.csv", 'q,a\n你好,1\n"two\nlines",2\n'),
        ("packed.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("packed.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
    ],
)
def test_text_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | bytes) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    assert rows_of(written(tmp_path / name, text)) == ROWS


def test_rows_may_differ_in_keys_and_types(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"a": "x", "b": [1, "y", None]}, {"c": {"d": {}}}, "text", None, [1]]
    assert rows_of(written(tmp_path / "mixed.json", json.dumps(rows))) == rows


def test_plain_text_is_a_row_a_line_but_for_blank_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "wiki.txt", "one\r\n\r\n\n \t\ntwo\n3\n\n")
    assert rows_of(path) == [{"text": "one"}, {"text": "two"}, {"text": "3"}]
    file = open_row_file(path)
    assert addresses(file, (5, 0)) == addresses(file)[1:]
    assert rows_of(written(tmp_path / "blank.txt", "\n\n")) == []


def test_a_line_of_text_in_another_encoding_stands_in_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "wiki.txt", b"one\n" * 20_000 + b"\xff\n")
    assert rows_of(path)[-1] == Unreadable("line 20001: not UTF-8 (byte 0 of the line: invalid start byte)")


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """The same rows as Parquet and as both kinds of Arrow, in three parts."""
    table = pa.Table.from_pylist(TABLE_ROWS)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return [tmp_path / name for name in ("rows.parquet", "file.arrow", "stream.arrow")]


TABLE_ROWS = [{"m": [{"x": n}], "image": {"bytes": b"png"}} for n in range(4)] + [{"m": [{"y": "b"}, {"x": 2}]}]


def test_tables_come_without_the_nulls_of_other_rows(tables: list[Path]) -> None:
    for path in tables:
        assert rows_of(path) == TABLE_ROWS


def test_the_rows_of_tables_are_found_from_any_row_on_and_have_the_same_content(tables: list[Path]) -> None:
    files = [open_row_file(path) for path in tables]
    for file in files:
        assert addresses(file) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
        assert addresses(file, (1, 1)) == [(1, 1), (2, 0)]
    contents = [[file.raw(address) for address in addresses(file)] for file in files]
    assert contents[0] == contents[1] == contents[2]
    assert len(set(contents[0])) == 5


def test_json_lists_and_objects_in_tables_of_another_type_are_told_apart(tmp_path: Path) -> None:
    contents = []
    for name, value in (("text", "1"), ("number", 1), ("list", ["1"]), ("bytes", b"1")):
        pq.write_table(pa.Table.from_pylist([{"a": value}]), tmp_path / f"{name}.parquet")
        contents.append(open_row_file(tmp_path / f"{name}.parquet").raw((0, 0)))
    assert len(set(contents)) == 4


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "one.json",
            '{"data": [1], "n": 2}',
            "keys data, n; expected a list of rows [{…}, …]. If the rows are under 'data'",
        ),
        ("one.json", '{\n"q": "a"\n}', "one.json is one JSON object with the keys q; expected a list of rows"),
        ("one.json", '{\n"q": "a', "one.json, line 2, column 6 (row 0): the file ends in the middle of the row"),
        ("pretty.jsonl", '{\n"q": "a"\n}', "pretty.jsonl is one JSON object with the keys q"),
        ("page.json", "<html>", "page.json begins with '<html>'; expected JSON rows"),
        ("empty.json", "", "empty.json is empty; expected JSON rows"),
        ("empty.jsonl", " \n\n", "empty.jsonl is empty; expected JSON rows"),
        ("empty.csv", "", "empty.csv is empty; expected a header line"),
        ("gbk.json", '[{"a": "你好"}]'.encode("gbk"), "gbk.json is not UTF-8 (byte 8: invalid"),
        ("bad.jsonl.gz", b"no gzip", "bad.jsonl.gz cannot be read (Not a gzipped file"),
        (
            "cut.jsonl.gz",
            gzip.compress(LINES.encode(), mtime=0)[:-9],
            "cut.jsonl.gz cannot be read (Compressed file ended",
        ),
        ("bad.parquet", b"PAR1", "bad.parquet is not a sound Parquet file"),
        ("bad.arrow", b"nothing", "bad.arrow is not a sound Arrow file"),
        ("bad.tar", b"nothing" * 200, "bad.tar is not a sound tar archive"),
        ("rows.xlsx", b"", "rows.xlsx: files ending in .xlsx are not read; expected .json, .jsonl, .csv, .parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | bytes, reason: str
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        rows_of(written(tmp_path / name, text))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JSONL", "json"), ("a.json.gz", "json"), ("a.tar", "tar"), ("a.tar.gz", ""), ("a.parquet.gz", ""), ("a", "")],
)
def test_kinds_go_by_the_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind
