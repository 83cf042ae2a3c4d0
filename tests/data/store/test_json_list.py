"""JSON lists: rows found by the scan are json's own, wherever the stretches of the file part; mistakes have a place."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.data.store.reading import addresses, rows_of, written
from tunesmith.data.store import byte_file
from tunesmith.data.store.kinds import open_row_file
from tunesmith.data.store.row_file import Unreadable
from tunesmith.errors import DataError

LETTERS = ["a", '"', "\\", "\\\\", "{", "}", "[", "]", ",", ":", "\n", "é", "你", "😀", " "]


def any_text(source: random.Random) -> str:
    return "".join(source.choices(LETTERS, k=source.randrange(12)))


def any_value(source: random.Random, depth: int = 0) -> Any:
    kind = source.randrange(8 if depth < 3 else 5)
    if kind < 4:
        return (any_text(source), source.randrange(10**6), None, 1.5)[kind]
    if kind == 4:
        return source.random() < 0.5
    if kind == 5:
        return [any_value(source, depth + 1) for _ in range(source.randrange(4))]
    return {any_text(source): any_value(source, depth + 1) for _ in range(source.randrange(4))}


def any_document(source: random.Random) -> tuple[list[Any], bytes]:
    """Rows, and one of the many ways of writing them."""
    rows = [any_value(source) for _ in range(source.randrange(6))]
    text = json.dumps(rows, indent=source.choice([None, 1, 4]), ensure_ascii=source.random() < 0.5)
    if source.random() < 0.3:
        text = text.replace("\n", "\r\n")
    return rows, (source.choice(["", "\ufeff", " ", "\n"]) + text + source.choice(["", "\n", " \r\n"])).encode()


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 1 << 20])
def test_rows_are_those_of_json_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(byte_file, "CHUNK_BYTES", chunk_bytes)
    source = random.Random(chunk_bytes)
    for number in range(150):
        rows, content = any_document(source)
        assert rows_of(written(tmp_path / f"{number}.json", content)) == rows, content


def test_finding_goes_on_at_any_row(tmp_path: Path) -> None:
    source = random.Random(3)
    file = open_row_file(written(tmp_path / "rows.json", json.dumps([any_value(source) for _ in range(40)], indent=1)))
    found = addresses(file)
    for number, start in enumerate(found):
        assert addresses(file, start) == found[number:]


def test_every_cut_of_a_file_is_one_clear_message(tmp_path: Path) -> None:
    text = '[{"a": "x\\"]}", "b": [1, {"c": null}]}, {"a": "tw"}]'
    for length in range(1, len(text)):
        with pytest.raises(DataError) as caught:
            rows_of(written(tmp_path / "cut.json", text[:length]))
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / 'cut.json'}, line 1, column ")
        assert message.endswith("the file ends in the middle of the row; was the file copied or downloaded completely?")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"a": 1},\n{"a": "tw', "line 2, column 7 (row 1): the file ends in the middle of the row"),
        ('[{"a": 1},\n', "line 2, column 1 (row 1): the file ends in the middle of the row"),
        ('[{"a": 1}', "line 1, column 10 (row 0): the file ends in the middle of the row"),
        ('[{"a": 1},\n {"a": "b}]', "line 2, column 8 (row 1): the file ends in the middle of the row"),
        ('[{"a": 1}, {"a: 2},\n{"a": "3"}, {"a": 4}]', "line 1, column 20 (row 1): not JSON: Invalid control"),
        ("[{}]\n[{}]", "line 2, column 1 (row 1): not JSON: text after the closing ]"),
        ("[] x", "line 1, column 4 (row 0): not JSON: text after the closing ]"),
        ("[{},]", "line 1, column 5 (row 1): not JSON: Expecting value"),
        ("[" * 100_000, "row 0: nested too deeply"),
    ],
)
def test_a_broken_list_is_named_with_row_line_and_column(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(written(tmp_path / "rows.json", text))
    assert str(caught.value).startswith(f"{tmp_path / 'rows.json'}, {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"a": 1}\n{"a": 2}]', "line 2, column 1: not JSON: expected , or ] after the row"),
        ("[{'a': 1}]", "line 1, column 3: not JSON: Expecting property name"),
        ("[{},,{}]", "line 1, column 5: not JSON: Expecting value"),
        ('[{"n": ' + "9" * 5000 + "}]", "a whole number with too many digits"),
        ('[{"n": ' + "[" * 100_000 + "]" * 100_000 + "}]", "nested too deeply"),
        (b'[{"n": "' + b" " * 70_000 + b'\xff"}]', "not UTF-8 (byte 70008: invalid"),
    ],
)
def test_a_row_that_is_not_json_stands_in_its_place(tmp_path: Path, text: str | bytes, reason: str) -> None:
    found = rows_of(written(tmp_path / "rows.json", text))
    broken = next(row for row in found if isinstance(row, Unreadable))
    assert reason in broken.reason
    assert all(row == {} for row in found if row is not broken)


def test_the_content_of_a_row_is_without_the_blanks_around_it(tmp_path: Path) -> None:
    file = open_row_file(written(tmp_path / "rows.json", '[\n  {"a": 1} ,\r\n\t{"a": 2}\n]'))
    assert [file.raw(address) for address in addresses(file)] == [b'{"a": 1}', b'{"a": 2}']
