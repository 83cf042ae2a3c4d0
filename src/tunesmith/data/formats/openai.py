"""openai: `messages` with role and content, content as text or a list of parts, tool calls beside the text.

Differs from LLaMA-Factory's reader where that one damages rows: no "detailed thinking off" is put into system messages,
text beside tool calls stays, arguments that are JSON text are decoded, a trailing tool message is a bad row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.chat.message import Conversation, Role
from tunesmith.data.formats.answers import ReadMessage, build_row
from tunesmith.data.formats.content import Content, read_content
from tunesmith.data.formats.layout import OPENAI_TAGS, Layout, Tags
from tunesmith.data.formats.messages import read_message_list, read_supervised, system_turns
from tunesmith.data.formats.tools import read_calls
from tunesmith.data.formats.turns import Turn, text_turn
from tunesmith.data.formats.values import as_optional_text, describe
from tunesmith.data.problem import RowError

_STANDARD_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


def read_openai(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The conversation of one row. Media stand in the content's parts or in columns; a part `{"type": "image"}`
    without a path and an `<image>` in the text both take the next of the column.

    Raises RowError.
    """
    columns = layout.columns
    read_message = message_reader(layout, layout.tags)
    turns = _read_turns(row, layout, read_message)
    return build_row(row, layout, [*system_turns(row, columns, turns), *turns], read_message=read_message)


def message_reader(layout: Layout, tags: Tags) -> ReadMessage:
    """What reads one message with these tags; paths of its media are relative to the layout's folder."""
    return partial(_read_message, folder=layout.media_folder, tags=tags)


def _read_turns(row: Mapping[str, Any], layout: Layout, read_message: ReadMessage) -> list[Turn]:
    """The messages, or the one question that stands in their place as text (TRL's `prompt`)."""
    column = layout.columns.messages
    asked = row.get(column) if column else None
    if isinstance(asked, str) and not asked.lstrip().startswith("[{"):
        return [text_turn("user", asked)]
    candidates = (column,) if column else ("messages", "conversations")
    messages = read_message_list(row, candidates, may_lack=layout.rows == "pairs")
    return [read_message(message, f"message {position}") for position, message in enumerate(messages)]


def _read_message(message: Mapping[str, Any], where: str, *, folder: Path | None, tags: Tags) -> Turn:
    role = _read_role(message, tags, where)
    content_key = tags.content_tag if tags.content_tag in message else OPENAI_TAGS.content_tag
    calls = read_calls(message.get("tool_calls") or message.get("function_call"), f"{where}.tool_calls")
    value = message.get(content_key)
    content = Content() if value is None and calls else read_content(value, folder, f"{where} ({role})")
    if role != "assistant" and (calls or content.tool_calls or content.reasoning):
        raise RowError("wrong tool call", f"{where} ({role}) has tool calls or thoughts; only the assistant may")
    return Turn(
        role,
        content.pieces,
        reasoning=_read_reasoning(message, where) or content.reasoning,
        tool_calls=calls + content.tool_calls,
        supervised=read_supervised(message, role, where),
    )


def _read_role(message: Mapping[str, Any], tags: Tags, where: str) -> Role:
    tagged: dict[str, Role] = {
        tags.system_tag: "system",
        tags.observation_tag: "tool",
        tags.function_tag: "assistant",
        tags.assistant_tag: "assistant",
        tags.user_tag: "user",
    }
    name = message.get(tags.role_tag, message.get(OPENAI_TAGS.role_tag))
    role = (tagged.get(name) or _STANDARD_ROLES.get(name)) if isinstance(name, str) else None
    if role is None:
        known = ", ".join(_STANDARD_ROLES)
        raise RowError("unknown role", f"{where} has {tags.role_tag} {describe(name)}; expected one of {known}")
    return role


def _read_reasoning(message: Mapping[str, Any], where: str) -> str | None:
    texts = [as_optional_text(message.get(key), f"{where}.{key}") for key in _REASONING_KEYS]
    return next((text for text in texts if text), None)
