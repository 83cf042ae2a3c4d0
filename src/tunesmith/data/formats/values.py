"""Reading single values of a row with their types checked: text, lists, JSON in text.

CSV files have no lists, so a list may stand as JSON in text. Knows no columns and no roles.
"""

from __future__ import annotations

import json
from typing import Any

from tunesmith.data.problem import RowError
from tunesmith.data.store.json_faults import explain_beyond


def describe(value: object) -> str:
    """What a wrong value is, in JSON's words and short enough for a message."""
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    if value is None:
        return "null"
    if isinstance(value, str):
        return "empty text" if not value.strip() else f"the text {shorten(value)}"
    return f"{names.get(type(value), type(value).__name__)} ({shorten(str(value))})"


def as_text(value: object, where: str) -> str:
    """`value` if it is text. Raises RowError that names `where`."""
    if not isinstance(value, str):
        raise RowError("wrong type", f"{where} is {describe(value)}; expected text")
    return value


def as_optional_text(value: object, where: str) -> str:
    """Text, with null and an absent value as "" (columns that a row may leave out)."""
    return "" if value is None else as_text(value, where)


def as_list(value: object, where: str) -> list[Any]:
    """A list; null and "" are an empty one, JSON text of a list is parsed, any other single value is a list of one."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = parse_json(value, where)
        if isinstance(parsed, list):
            return parsed
    return [value]


def parse_json(text: str, where: str) -> Any:
    """The JSON value in `text`. Raises RowError that names `where` and the place of the mistake."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RowError("broken JSON", f"{where} is not JSON ({error}): {shorten(text)}") from None
    except (RecursionError, ValueError) as error:
        raise RowError("broken JSON", f"{where}: {explain_beyond(error)}: {shorten(text)}") from None


def shorten(text: str, limit: int = 60) -> str:
    """`text` in quotes, its end left out beyond `limit` characters."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
