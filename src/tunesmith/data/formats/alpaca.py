"""alpaca: instruction, input and output in columns, earlier rounds in `history`.

Also any dataset with one column for the question and one for the answer, or for the chosen and the rejected one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.chat.message import Conversation
from tunesmith.data.formats.answers import build_row
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout
from tunesmith.data.formats.openai import message_reader
from tunesmith.data.formats.turns import Turn, text_turn
from tunesmith.data.formats.values import as_list, as_optional_text, as_text, describe
from tunesmith.data.problem import RowError


def read_alpaca(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of one row. The question is instruction and input on lines of their own, empty ones left out.

    Raises RowError.
    """
    columns = layout.columns
    system = as_optional_text(row.get(columns.system), columns.system) if columns.system else ""
    turns = [
        *([text_turn("system", system)] if system else []),
        *_read_history(row, columns),
        text_turn("user", _read_question(row, columns)),
    ]
    if layout.rows in ("conversations", "verdicts") and (columns.response is None or columns.response not in row):
        raise RowError("no answer", f"there is no column {columns.response!r} (columns here: {_names(row)})")
    return build_row(row, layout, turns, read_message=message_reader(layout, OPENAI_TAGS))


def _read_question(row: Mapping[str, Any], columns: Columns) -> str:
    present = [column for column in (columns.prompt, columns.query) if column is not None and column in row]
    if not present:
        raise RowError("no question", f"there is no column {columns.prompt!r} (columns here: {_names(row)})")
    texts = [as_optional_text(row[column], column) for column in present]
    return "\n".join(text for text in texts if text)


def _read_history(row: Mapping[str, Any], columns: Columns) -> Iterator[Turn]:
    if columns.history is None:
        return
    for index, pair in enumerate(as_list(row.get(columns.history), columns.history)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("wrong type", f"{columns.history}[{index}] is {describe(pair)}; expected [question, answer]")
        yield text_turn("user", as_text(pair[0], f"{columns.history}[{index}][0]"))
        yield text_turn("assistant", as_text(pair[1], f"{columns.history}[{index}][1]"))


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(row) or "none"
