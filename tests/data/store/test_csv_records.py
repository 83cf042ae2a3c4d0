"""CSV: records as the csv module reads them, each readable alone."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from tests.data.store.reading import addresses, rows_of, written
from tunesmith.data.store import byte_file
from tunesmith.data.store.kinds import open_row_file
from tunesmith.data.store.row_file import Unreadable

TEXTS = ["plain", "", 'say "so"', "a,b", "two\nlines", "two\r\nlines", '"', "你好", '5" pipe', " x "]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_records_are_those_of_the_csv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(byte_file, "CHUNK_BYTES", chunk_bytes)
    source = random.Random(chunk_bytes)
    rows = [{name: source.choice(TEXTS) for name in "ab"} for _ in range(60)]
    for line_break in ("\n", "\r\n"):
        path = tmp_path / "rows.csv"
        with path.open("w", newline="", encoding="utf-8-sig") as opened:
            writer = csv.DictWriter(opened, ["a", "b"], lineterminator=line_break)
            writer.writeheader()
            writer.writerows(rows)
        assert rows_of(path) == rows
        file = open_row_file(path)
        found = addresses(file)
        assert addresses(file, found[20]) == found[20:]


def test_a_quote_inside_a_field_is_a_letter_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path / "rows.csv", 'q,a\n5" pipe,x\n\nb,6"\n')) == [
        {"q": '5" pipe', "a": "x"},
        {"q": "b", "a": '6"'},
    ]


def test_any_text_gives_the_records_of_the_csv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(1)
    for number in range(400):
        monkeypatch.setattr(byte_file, "CHUNK_BYTES", source.choice([1, 4, 30, 1 << 20]))
        text = "a,b\n" + "".join(
            source.choices(['"', ",", "\n", "x", '""', "\r\n", '","', '"\n"'], k=source.randrange(30))
        )
        expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row][1:]
        found = rows_of(written(tmp_path / f"{number}.csv", text))
        assert [isinstance(row, dict) for row in found] == [len(row) == 2 for row in expected], text
        assert [list(row.values()) for row in found if isinstance(row, dict)] == [
            row for row in expected if len(row) == 2
        ]


def test_a_record_in_another_encoding_stands_in_its_place(tmp_path: Path) -> None:
    found = rows_of(written(tmp_path / "rows.csv", b"q,a\n" + b"1,2\n" * 20_000 + b"\xff,1\n3,4\n"))
    assert isinstance(found[20_000], Unreadable)
    assert found[20_000].reason.startswith("line 20002: 'utf-8' codec can't decode byte 0xff")
    assert found[20_001] == {"q": "3", "a": "4"}


def test_rows_of_another_width_stand_in_their_place(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path / "rows.csv", "q,a\n1,2\n3\n4,5,6\n")) == [
        {"q": "1", "a": "2"},
        Unreadable("line 3: 1 fields, the header has 2"),
        Unreadable("line 4: 3 fields, the header has 2"),
    ]


def test_the_header_is_part_of_the_content(tmp_path: Path) -> None:
    files = [open_row_file(written(tmp_path / name, text)) for name, text in (("a.csv", "q\n1"), ("b.csv", "a\n1\n"))]
    contents = [file.raw(addresses(file)[0]) for file in files]
    assert contents[0] != contents[1]
