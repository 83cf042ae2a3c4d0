"""What the formats with a list of messages share: the list itself, the loss flag, the system column.

Knows no tags and no content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.chat.message import Role
from tunesmith.data.formats.layout import Columns
from tunesmith.data.formats.turns import Turn, text_turn
from tunesmith.data.formats.values import as_list, as_optional_text, describe
from tunesmith.data.problem import RowError


def read_message_list(
    row: Mapping[str, Any], candidates: Sequence[str], *, may_lack: bool = False
) -> list[Mapping[str, Any]]:
    """The messages in the first of the `candidates` columns that the row has; none where it `may_lack` them (answers
    that are whole conversations). Raises RowError."""
    column = next((name for name in candidates if row.get(name) is not None), None)
    if column is None and may_lack:
        return []
    if column is None:
        wanted = " or ".join(repr(name) for name in candidates)
        raise RowError("no messages", f"there is no column {wanted} (columns here: {', '.join(row) or 'none'})")
    messages = as_list(row[column], column)
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise RowError("wrong type", f"message {position} is {describe(message)}; expected an object")
    return messages


def read_supervised(message: Mapping[str, Any], role: Role, where: str) -> bool:
    """The message's own `loss` (true or false) or `loss_weight` (0 or 1); true without either.

    Only answers are ever in the loss this way, so the flag of another role must not ask for it. Raises RowError.
    """
    key = next((name for name in ("loss", "loss_weight") if message.get(name) is not None), None)
    if key is None:
        return True
    flag = message[key]
    if flag not in (0, 1):
        raise RowError("wrong loss flag", f"{where} has {key} {describe(flag)}; expected true, false, 0 or 1")
    if role != "assistant":
        if flag:
            raise RowError("wrong loss flag", f"{where} ({role}) has {key} on; only assistant messages are trained")
        return True
    return bool(flag)


def system_turns(row: Mapping[str, Any], columns: Columns, turns: Sequence[Turn]) -> list[Turn]:
    """The system column as a turn, unless the messages begin with a system message of their own."""
    if columns.system is None or (turns and turns[0].role == "system"):
        return []
    system = as_optional_text(row.get(columns.system), columns.system)
    return [text_turn("system", system)] if system else []
