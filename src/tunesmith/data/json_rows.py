"""Rows out of JSON and JSONL text, one at a time, with mistakes named by file, row, line and column.

Schema-free on purpose: rows may differ in keys and types, which table readers (Arrow) refuse or change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import DataError

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_BEYOND_PYTHON = (RecursionError, ValueError)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a row should be: why it cannot be read."""

    reason: str


def decode_lines(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every line that is not blank; Unreadable for one that is not JSON."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            yield number, Unreadable(f"line {number}, column {error.colno}: {_explain(error, line, whole='line')}")
        except _BEYOND_PYTHON as error:
            yield number, Unreadable(f"line {number}: {explain_beyond(error)}")


def decode_list(text: str, file: str) -> Iterator[Any]:
    """The elements of the JSON list that `text` is, decoded one by one. Raises DataError naming the place."""
    position = _skip_blank(text, _skip_blank(text, 0) + 1)
    row = 0
    while not text.startswith("]", position):
        value, position = _decode_element(text, position, row=row, file=file)
        yield value
        row += 1
        position = _skip_blank(text, position)
        if text.startswith(",", position):
            position = _skip_blank(text, position + 1)
        elif not text.startswith("]", position):
            raise _error(file, row - 1, json.JSONDecodeError("expected , or ] after the row", text, position), text)
    rest = _skip_blank(text, position + 1)
    if rest < len(text):
        raise _error(file, row, json.JSONDecodeError("text after the closing ]", text, rest), text)


def describe_object(text: str, file: str) -> DataError:
    """The error for a file that holds one JSON object where a list of rows should stand."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return _error(file, 0, error, text)
    except _BEYOND_PYTHON as error:
        return DataError(f"{file}: {explain_beyond(error)}")
    lists = [key for key, inner in value.items() if isinstance(inner, list)]
    found = (
        f"{file} is one JSON object with the keys {', '.join(value) or '(none)'}; expected a list of rows [{{…}}, …]"
    )
    if lists:
        return DataError(f"{found}. If the rows are under {lists[0]!r}, save that list as the file")
    return DataError(f"{found}, or one row a line in a .jsonl file")


def _decode_element(text: str, position: int, *, row: int, file: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _error(file, row, error, text) from None
    except _BEYOND_PYTHON as error:
        raise DataError(f"{file}, row {row}: {explain_beyond(error)}") from None


def explain_beyond(error: ValueError | RecursionError) -> str:
    """Why Python cannot hold what is sound JSON."""
    return "nested too deeply" if isinstance(error, RecursionError) else "a whole number with too many digits"


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _error(file: str, row: int, error: json.JSONDecodeError, text: str) -> DataError:
    return DataError(
        f"{file}, line {error.lineno}, column {error.colno} (row {row}): {_explain(error, text, whole='file')}"
    )


def _explain(error: json.JSONDecodeError, text: str, *, whole: str) -> str:
    if error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()):
        return f"the {whole} ends in the middle of the row; was the file copied or downloaded completely?"
    return f"not JSON: {error.msg}"
