"""One value against its field: what pydantic would take, checked without importing it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.config.fields import Field, Kind
from tunesmith.config.given import Given

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_NULL = {"none", "null", ""}


def read_value(given: Given, field: Field) -> Any:
    """The value that `given` means for `field`; null means the default where the field cannot be null.

    Raises ValueError where it is of the wrong kind or out of bounds. Names and objects are left to their section.
    """
    word = given.value if given.text is None else given.text
    if word in field.choices and not isinstance(word, bool):
        return word
    if given.value is None or (field.nullable and isinstance(given.value, str) and given.value.lower() in _NULL):
        return None if field.nullable else field.default
    value = _READERS[field.kind](given)
    if field.choices and field.kind != "flag" and value not in field.choices:
        raise ValueError
    if not _within_bounds(value, field):
        raise ValueError
    return value


def expand_home(text: str) -> str:
    """`~/runs` with the home folder: a shell does this for `--output_dir ~/runs`, and nobody for YAML."""
    return str(Path(text).expanduser()) if text.startswith("~/") else text


def _read_flag(given: Given) -> bool:
    word = str(given.value).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError


def _read_number(given: Given) -> float:
    """From the characters where there are any: to YAML, `010` is eight and `1:30` is ninety."""
    source = given.value if given.text is None else given.text
    if isinstance(source, bool) or not isinstance(source, int | float | str):
        raise ValueError
    try:
        return int(source) if isinstance(source, int | str) else _finite(source)
    except ValueError:
        return _finite(float(source))


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number


def _read_integer(given: Given) -> int:
    number = _read_number(given)
    if number != int(number):
        raise ValueError
    return int(number)


def _read_choice(given: Given) -> Any:
    return given.value if isinstance(given.value, int) else (given.text or given.value)


def _read_text(given: Given) -> Any:
    if isinstance(given.value, dict):
        raise ValueError
    return given.value if given.text is None else expand_home(given.text)


def _read_as_given(given: Given) -> Any:
    return given.value


_READERS: dict[Kind, Callable[[Given], Any]] = {
    "flag": _read_flag,
    "integer": _read_integer,
    "number": _read_number,
    "choice": _read_choice,
    "text": _read_text,
    "secret": _read_text,
    "names": _read_text,
    "object": _read_as_given,
}


def _within_bounds(value: Any, field: Field) -> bool:
    if field.kind not in {"integer", "number"}:
        return True
    return (
        (field.above is None or value > field.above)
        and (field.least is None or value >= field.least)
        and (field.below is None or value < field.below)
        and (field.most is None or value <= field.most)
    )
