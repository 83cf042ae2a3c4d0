"""sharegpt: a list of messages whose keys and role names the dataset's tags give; tools in a column.

A `function_call` turn holds JSON calls, thoughts may stand before them. LLaVA's own files are sharegpt with one
`image` column, and are read here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tunesmith.chat.message import Conversation, Role, Text
from tunesmith.data.formats.answers import build_row
from tunesmith.data.formats.layout import Layout, Tags
from tunesmith.data.formats.messages import read_message_list, read_supervised, system_turns
from tunesmith.data.formats.tools import read_call_text
from tunesmith.data.formats.turns import Turn
from tunesmith.data.formats.values import as_text, describe
from tunesmith.data.problem import RowError


def read_sharegpt(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of one row; a system message among the messages goes before the system column.

    Raises RowError.
    """
    columns = layout.columns
    candidates = (columns.messages,) if columns.messages else ("conversations",)
    messages = read_message_list(row, candidates, may_lack=layout.rows == "pairs")
    read_message = partial(_read_message, tags=layout.tags)
    turns = [read_message(message, f"message {position}") for position, message in enumerate(messages)]
    return build_row(row, layout, [*system_turns(row, columns, turns), *turns], read_message=read_message)


def _read_message(message: Mapping[str, Any], where: str, *, tags: Tags) -> Turn:
    role = _read_role(message, tags, where)
    if tags.content_tag not in message:
        raise RowError("wrong type", f"{where} has no {tags.content_tag!r} (keys: {', '.join(message)})")
    content = as_text(message[tags.content_tag], f"{where} ({message[tags.role_tag]})")
    supervised = read_supervised(message, role, where)
    if message[tags.role_tag] == tags.function_tag:
        text, calls = read_call_text(content, where)
        return Turn(role, (Text(text),), tool_calls=calls, supervised=supervised)
    return Turn(role, (Text(content),), supervised=supervised)


def _read_role(message: Mapping[str, Any], tags: Tags, where: str) -> Role:
    roles: dict[str, Role] = {
        tags.system_tag: "system",
        tags.observation_tag: "tool",
        tags.function_tag: "assistant",
        tags.assistant_tag: "assistant",
        tags.user_tag: "user",
    }
    name = message.get(tags.role_tag)
    if not isinstance(name, str) or name not in roles:
        raise RowError(
            "unknown role", f"{where} has {tags.role_tag} {describe(name)}; expected one of {', '.join(roles)} (`tags`)"
        )
    return roles[name]
