"""JSONL: a row a line, blank lines left out, broken lines in their places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.store.reading import ROWS, addresses, rows_of, written
from tunesmith.data.store import byte_file
from tunesmith.data.store.kinds import open_row_file
from tunesmith.data.store.row_file import Unreadable


@pytest.mark.parametrize("chunk_bytes", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\n\n \t\n", "\r\n\r\n"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n\n"])
def test_lines_are_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, line_break: str, before: str
) -> None:
    monkeypatch.setattr(byte_file, "CHUNK_BYTES", chunk_bytes)
    text = before + line_break.join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    for end in ("", line_break):
        assert rows_of(written(tmp_path / "rows.jsonl", text + end)) == ROWS


def test_finding_goes_on_at_any_row(tmp_path: Path) -> None:
    file = open_row_file(written(tmp_path / "rows.jsonl", "".join(f'{{"n": {n}}}\n\n' for n in range(30))))
    found = addresses(file)
    assert [file.read(address) for address in found] == [{"n": n} for n in range(30)]
    for number, start in enumerate(found):
        assert addresses(file, start) == found[number:]


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}', 1, "line 2, column 8: the line ends in the middle of the row"),
        ('{"a": 1}\n\n{a: 2}\n{"a": 3}', 1, "line 3, column 2: not JSON: Expecting property name"),
        ('{"a": 1}\n{"a": 2}\n{"a": "tex', 2, "line 3, column 7: the line ends in the middle of the row"),
        ("{a}\n", 0, "line 1, column 2: not JSON"),
        ('{"a": 1}\n{"n": ' + "9" * 5000 + "}\n", 1, "line 2: a whole number with too many digits"),
        ('{"a": 1}\n{"a": ' + "[" * 100_000 + "\n", 1, "line 2: nested too deeply"),
        (b'{"a": "' + b" " * 70_000 + b'"}\n{"a": "\xff"}', 1, "line 2: not UTF-8 (byte 7 of the line: invalid"),
    ],
)
def test_a_broken_line_stands_in_its_place(tmp_path: Path, text: str | bytes, row: int, reason: str) -> None:
    found = rows_of(written(tmp_path / "rows.jsonl", text))
    assert isinstance(found[row], Unreadable)
    assert found[row].reason.startswith(reason)
    assert all(isinstance(value, dict) for index, value in enumerate(found) if index != row)


def test_equal_rows_have_equal_content_whatever_stands_around_them(tmp_path: Path) -> None:
    file = open_row_file(written(tmp_path / "rows.jsonl", '{"a": 1}\r\n  {"a": 1} \n'))
    assert [file.raw(address) for address in addresses(file)] == [b'{"a": 1}'] * 2
