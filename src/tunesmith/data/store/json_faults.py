"""What exactly is wrong with a JSON row, said with line and column, and why Python cannot hold what is sound JSON.

Reads the file only where a mistake has been met.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tunesmith.data.store.byte_file import ByteFile, not_utf8
from tunesmith.errors import DataError

_BLANK = re.compile(r"[ \t\r\n]*")
_UNFINISHED = re.compile(r"[\w\\.+-]*\s*")
"""What may be left of a cut value: tru, -, 1.5e, \\u12."""
_INSIDE_A_ROW = ("Expecting", "Invalid \\")
_DECODER = json.JSONDecoder()
_MAX_SHOWN_BYTES = 1 << 26
"""How far after a row's start a mistake is looked for; the row itself is in memory anyway."""

BEYOND_PYTHON = (RecursionError, ValueError)
"""What json raises, JSONDecodeError apart, for values that Python cannot hold."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`place` ("line 3, column 7", or empty where there is none) and what is wrong there."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


def explain_beyond(error: ValueError | RecursionError) -> str:
    """Why Python cannot hold what is sound JSON."""
    return "nested too deeply" if isinstance(error, RecursionError) else "a whole number with too many digits"


def find_line_fault(file: ByteFile, offset: int, length: int) -> Fault:
    """What is wrong with the line of JSONL at `offset`, which json refuses."""
    number = file.num_line_breaks(offset) + 1
    line = file.read(offset, length).rstrip()
    try:
        json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Fault(f"line {number}", f"not UTF-8 (byte {error.start} of the line: {error.reason})")
    except json.JSONDecodeError as error:
        return Fault(f"line {number}, column {error.colno}", _explain(error, line.decode(), whole="line"))
    except BEYOND_PYTHON as error:
        return Fault(f"line {number}", explain_beyond(error))
    return Fault(f"line {number}", "the file has changed since it was opened")


def find_element_fault(file: ByteFile, offset: int, length: int = _MAX_SHOWN_BYTES) -> Fault | None:
    """What is wrong with the element of a JSON list that begins at `offset`, or right after it; None if nothing is.

    `length` takes in the comma or bracket after the element, where that is known. Raises DataError for other encodings.
    """
    text = _read_text(file, offset, length)
    start = _skip_blank(text, 0)
    try:
        _, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return _fault_at(file, offset, error, text)
    except BEYOND_PYTHON as error:
        return Fault("", explain_beyond(error))
    after = _skip_blank(text, end)
    if not text.startswith((",", "]"), after):
        return _fault_at(file, offset, json.JSONDecodeError("expected , or ] after the row", text, after), text)
    return None


def place_of(file: ByteFile, offset: int) -> str:
    """ "line 3, column 7" of the byte at `offset`."""
    return _place(file, offset, json.JSONDecodeError("", "", 0))


def find_object_fault(file: ByteFile, start: int) -> DataError:
    """The error for a file that holds one JSON object where a list of rows should stand."""
    text = _read_text(file, start, _MAX_SHOWN_BYTES)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        fault = _fault_at(file, start, error, text)
        return DataError(f"{file.path}, {fault.place} (row 0): {fault.reason}")
    except BEYOND_PYTHON as error:
        return DataError(f"{file.path}: {explain_beyond(error)}")
    lists = [key for key, inner in value.items() if isinstance(inner, list)]
    keys = ", ".join(value) or "(none)"
    found = f"{file.path} is one JSON object with the keys {keys}; expected a list of rows [{{…}}, …]"
    if lists:
        return DataError(f"{found}. If the rows are under {lists[0]!r}, save that list as the file")
    return DataError(f"{found}, or one row a line in a .jsonl file")


def _read_text(file: ByteFile, offset: int, length: int) -> str:
    content = file.read(offset, length)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        if error.end == len(content) < file.size - offset:  # a character that the limit cuts
            return content[: error.start].decode()
        raise not_utf8(file.path, offset + error.start, error.reason) from None


def _fault_at(file: ByteFile, offset: int, error: json.JSONDecodeError, text: str) -> Fault:
    return Fault(_place(file, offset, error), _explain(error, text, whole="file"))


def _place(file: ByteFile, offset: int, error: json.JSONDecodeError) -> str:
    """Line and column in the file of an `error` in the text that begins at `offset`."""
    line = file.num_line_breaks(offset) + error.lineno
    column = error.colno
    if error.lineno == 1:
        before = file.read(max(0, offset - _MAX_SHOWN_BYTES), min(offset, _MAX_SHOWN_BYTES))
        column += len(before.rpartition(b"\n")[2].decode("utf-8-sig", errors="replace"))
    return f"line {line}, column {column}"


def _explain(error: json.JSONDecodeError, text: str, *, whole: str) -> str:
    is_cut = error.msg.startswith(_INSIDE_A_ROW) and _UNFINISHED.fullmatch(text, error.pos)
    if is_cut or error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()):
        return f"the {whole} ends in the middle of the row; was the file copied or downloaded completely?"
    return f"not JSON: {error.msg}"


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
