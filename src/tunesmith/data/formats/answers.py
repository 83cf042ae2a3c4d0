"""How a row ends, by what the stage learns from: an answer, a chosen and a rejected one, a judged one, or a question.

Formats find the turns before that; here their ends are found and the conversation is built. Knows no tags: formats say
how they read one message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.chat.message import Conversation, Text
from tunesmith.data.formats.conversation import build_conversation
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.formats.references import read_media
from tunesmith.data.formats.tools import read_tools
from tunesmith.data.formats.turns import RowTurns, Turn, article, text_turn
from tunesmith.data.formats.values import describe
from tunesmith.data.problem import RowError

ReadMessage = Callable[[Mapping[str, Any], str], Turn]
"""A message of a format as a turn; the text says where it stands. Raises RowError."""

_VERDICTS: Mapping[object, bool] = {
    True: True,  # 1 too
    False: False,
    "true": True,
    "false": False,
    "1": True,
    "0": False,
}


def build_row(
    row: Mapping[str, Any], layout: Layout, turns: Sequence[Turn], *, read_message: ReadMessage
) -> Conversation:
    """The conversation of a row in which a format found `turns`, with what the row says of answers, media and tools.

    Raises RowError.
    """
    columns = layout.columns
    return build_conversation(
        _end_row(row, layout, turns, read_message),
        media=read_media(row, layout),
        expected=layout.expects_media,
        tools=read_tools(row.get(columns.tools), columns.tools) if columns.tools else (),
        unplaced_first=layout.rows != "conversations" or layout.formatting == "alpaca",
    )


def _end_row(row: Mapping[str, Any], layout: Layout, turns: Sequence[Turn], read_message: ReadMessage) -> RowTurns:
    columns = layout.columns
    if layout.rows == "pairs":
        names = (columns.chosen or "chosen", columns.rejected or "rejected")
        chosen, rejected = (_read_answer(_require(row, name), name, read_message) for name in names)
        before, (answer, other) = _split(turns, {names[0]: chosen, names[1]: rejected})
        return RowTurns([*before, answer], other=other)
    if layout.rows == "prompts":
        return RowTurns(_with_reference(row, columns, turns), is_open=True)
    answered = _with_answer(row, columns, turns, read_message)
    if layout.rows == "verdicts":
        verdict = _read_verdict(row, columns.kto_tag or "kto_tag")
        if len(answered) > len(turns):
            before, (answer,) = _split(turns, {str(columns.response): answered[len(turns) :]})
            answered = [*before, answer]
        return RowTurns(answered, verdict=verdict)
    return RowTurns(answered)


def _require(row: Mapping[str, Any], column: str) -> object:
    if column not in row:
        raise RowError("no answer", f"there is no column {column!r} (columns here: {', '.join(row) or 'none'})")
    if row[column] is None:
        raise RowError("no answer", f"{column} is empty (null); expected text or a message")
    return row[column]


def _read_answer(value: object, where: str, read_message: ReadMessage) -> list[Turn]:
    """Text, a message, or a list of messages."""
    if isinstance(value, str):
        return [text_turn("assistant", value)]
    messages = [value] if isinstance(value, Mapping) else value
    if not isinstance(messages, list) or not messages:
        raise RowError("wrong type", f"{where} is {describe(value)}; expected text or a message")
    turns = []
    for position, message in enumerate(messages):
        place = where if len(messages) == 1 else f"{where}, message {position}"
        if not isinstance(message, Mapping):
            raise RowError("wrong type", f"{place} is {describe(message)}; expected a message")
        turns.append(read_message(message, place))
    return turns


def _with_answer(
    row: Mapping[str, Any], columns: Columns, turns: Sequence[Turn], read_message: ReadMessage
) -> list[Turn]:
    """The turns with the answer's column behind them, where they do not end with an answer and the row has one."""
    column = columns.response
    if (turns and turns[-1].role == "assistant") or column is None or column not in row:
        return list(turns)
    return [*turns, *_read_answer(row[column], column, read_message)]


def _with_reference(row: Mapping[str, Any], columns: Columns, turns: Sequence[Turn]) -> list[Turn]:
    """The turns with the reference answer behind them, if there is one; a number, too, is an answer to judge by."""
    value = None if columns.response is None else row.get(columns.response)
    if (turns and turns[-1].role == "assistant") or value is None or value == "":
        return list(turns)
    return [*turns, text_turn("assistant", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def _read_verdict(row: Mapping[str, Any], column: str) -> bool:
    value = row.get(column)
    key = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, str | int | float) and key in _VERDICTS:
        return _VERDICTS[key]
    given = describe(value) if column in row else f"absent (columns here: {', '.join(row)})"
    raise RowError("no verdict", f"{column} is {given}; expected true (a good answer) or false (a bad one)")


def _split(turns: Sequence[Turn], answers: Mapping[str, Sequence[Turn]]) -> tuple[list[Turn], list[Turn]]:
    """(what stands before the answers, one answer each). Answers that are whole conversations share their beginning."""
    shared = _shared(list(answers.values()))
    ends: list[Turn] = []
    for name, answer in answers.items():
        rest = answer[len(shared) :]
        if len(rest) != 1:
            behind = " after the messages that both share" if shared else ""
            raise RowError("several messages", f"{name} has {len(rest)} messages{behind}; expected one answer")
        if rest[0].role != "assistant":
            raise RowError("wrong role order", f"{name} ends with {article(rest[0].role)}; expected the assistant's")
        ends.append(rest[0])
    return _before(turns, shared), ends


def _shared(answers: Sequence[Sequence[Turn]]) -> list[Turn]:
    """The messages that all begin with, the last of each left out."""
    shared = []
    for turns in zip(*(answer[:-1] for answer in answers), strict=False):
        if any(turn != turns[0] for turn in turns):
            break
        shared.append(turns[0])
    return shared


def _before(turns: Sequence[Turn], shared: Sequence[Turn]) -> list[Turn]:
    """The prompt, of which the answers' shared beginning may be the continuation or a copy."""
    if not shared:
        if not any(turn.role != "system" for turn in turns):
            raise RowError("no question", "nothing stands before the answers, and they do not begin with it either")
        return list(turns)
    if not turns or list(shared[: len(turns)]) == list(turns):
        return list(shared)
    starts_anew = shared[0].role in ("system", "user") and any(turn.role != "system" for turn in turns)
    if not starts_anew:
        return [*turns, *shared]
    asked, known = _text(turns[-1]), [_text(turn) for turn in shared]
    if not any(asked in text for text in known):
        raise RowError("two prompts", f"the answers begin with {known[0]!r:.60} while the prompt is {asked!r:.60}")
    system = turns[:1] if turns[0].role == "system" and shared[0].role != "system" else []
    return [*system, *shared]


def _text(turn: Turn) -> str:
    return "".join(piece.text for piece in turn.pieces if isinstance(piece, Text)).strip()
