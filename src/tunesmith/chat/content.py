"""From our messages to the dicts chat templates read, in the form the given template understands.

Every string that comes from the row passes through a `Write` function on its way, which is how `chat.marks` can put
markers into it. Knows nothing of text positions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from tunesmith.chat.dialect import CallStyle, call_id, call_style, places_media, reads_reasoning, takes_lists_only
from tunesmith.chat.message import Conversation, Media, Message, Role, Text, ToolCall
from tunesmith.chat.template import ChatTemplate, TemplateMessage
from tunesmith.errors import DataError

SlotKind = Literal["content", "reasoning", "call", "name", "schema", "parameter"]
"""What a row's string is: text, thoughts, part of a tool call, the tool's name beside its result, a tool's schema, the
name of a parameter in it."""

Write = Callable[[SlotKind, int, str], str]
"""`write(kind, message_index, text)` returns the text to put in place; the index is -1 for tool schemas."""

_SCHEMA_WORDS = frozenset({"type", "format"})
_PLAIN_WORD = re.compile(r"[\w-]*")


def write_plainly(kind: SlotKind, message: int, text: str) -> str:  # noqa: ARG001 - the signature of Write
    """The `Write` that changes nothing."""
    return text


def template_messages(
    conversation: Conversation, *, template: ChatTemplate, write: Write = write_plainly
) -> list[TemplateMessage]:
    """The messages of `conversation` as dicts for `template`.

    Raises DataError where the template cannot express them: media it has no place for, tool calls it does not write.
    """
    style = _needed_call_style(template, conversation)
    pending: list[tuple[str, str]] = []
    messages: list[TemplateMessage] = []
    num_calls = 0
    for index, message in enumerate(conversation.messages):
        converted = _convert(message, index=index, template=template, write=write)
        if message.tool_calls:
            ids = [call.id or call_id(num_calls + offset) for offset, call in enumerate(message.tool_calls)]
            num_calls += len(ids)
            pending += list(zip(ids, (call.name for call in message.tool_calls), strict=True))
            converted["tool_calls"] = list(_calls(message, ids, index=index, style=style, write=write))
            if style.null_content and not message.parts:
                converted["content"] = None
        elif message.role == "tool" and pending:
            converted |= _answered(pending.pop(0), index=index, style=style, write=write)
        messages.append(converted)
    return messages


def template_tools(conversation: Conversation, *, write: Write = write_plainly) -> list[dict[str, Any]] | None:
    """The tool schemas as transformers wants them, bare ones wrapped; None where there are none."""
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in conversation.tools]
    return [_rewrite_schema(tool, write) for tool in wrapped] or None


def _convert(message: Message, *, index: int, template: ChatTemplate, write: Write) -> TemplateMessage:
    converted: TemplateMessage = {"role": message.role}
    thoughts = ""
    if message.reasoning and reads_reasoning(template):
        written = write("reasoning", index, message.reasoning)
        # gpt-oss templates read `thinking`; transformers fills both names too.
        converted |= {"reasoning_content": written, "thinking": written}
    elif message.reasoning:
        thoughts = f"<think>\n{message.reasoning}\n</think>\n\n"
    has_media = any(isinstance(part, Media) for part in message.parts)
    if has_media or takes_lists_only(template, message.role):
        converted["content"] = list(_parts(message, thoughts, index=index, template=template, write=write))
    else:
        text = thoughts + message.text
        converted["content"] = write("content", index, text) if text else ""
    return converted


def _parts(
    message: Message, thoughts: str, *, index: int, template: ChatTemplate, write: Write
) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if isinstance(part, Media):
            _require_place(template, message.role, part)
            yield {"type": part.kind}
        elif part.text or thoughts:
            yield {"type": "text", "text": write("content", index, thoughts + part.text)}
            thoughts = ""
    if thoughts:
        yield {"type": "text", "text": write("content", index, thoughts)}


def _require_place(template: ChatTemplate, role: Role, media: Media) -> None:
    if not places_media(template, role, media.kind):
        raise DataError(
            f"{template.name} has no place for {media.kind}s in {role} messages ({media.name}); "
            f"use a model whose chat template takes {media.kind}s, or choose one by `template: NAME`"
        )


def _needed_call_style(template: ChatTemplate, conversation: Conversation) -> CallStyle:
    if not any(message.tool_calls for message in conversation.messages):
        return CallStyle()
    style = call_style(template)
    if style is None:
        raise DataError(
            f"{template.name} does not write tool calls; choose a template that does by `template: NAME`, "
            "or a dataset without tool calls"
        )
    return style


def _calls(message: Message, ids: list[str], *, index: int, style: CallStyle, write: Write) -> Iterator[dict[str, Any]]:
    for call, identity in zip(message.tool_calls, ids, strict=True):
        function = {"name": write("call", index, call.name), "arguments": _arguments(call, index, style, write)}
        entry: dict[str, Any] = {"type": "function", "function": function}
        yield entry | {"id": identity} if style.ids or call.id else entry


def _arguments(call: ToolCall, index: int, style: CallStyle, write: Write) -> object:
    if style.json_arguments:
        return write("call", index, json.dumps(call.arguments, ensure_ascii=False))
    return _rewrite(call.arguments, lambda text: write("call", index, text))


def _answered(call: tuple[str, str], *, index: int, style: CallStyle, write: Write) -> TemplateMessage:
    """What a tool's result says of the call it answers."""
    identity, name = call
    named: TemplateMessage = {"name": write("name", index, name)}
    return named | {"tool_call_id": identity} if style.ids else named


def _rewrite(value: Any, write: Callable[[str], str]) -> Any:
    """`value` with every string in it, keys too, passed through `write`."""
    if isinstance(value, str):
        return write(value)
    if isinstance(value, list | tuple):
        return [_rewrite(item, write) for item in value]
    if isinstance(value, dict):
        return {write(str(key)): _rewrite(item, write) for key, item in value.items()}
    return value


def _rewrite_schema(value: Any, write: Write, *, under: str = "") -> Any:
    """A JSON schema with its strings and its parameters' names passed through `write`; `under` is the key it stands at.

    The words of JSON schema itself, which templates compare with, stay: its keys, and types such as "string".
    """
    if isinstance(value, str) and under in _SCHEMA_WORDS and _PLAIN_WORD.fullmatch(value):
        return value
    if isinstance(value, str):
        return write("parameter" if under == "required" else "schema", -1, value)
    if isinstance(value, list | tuple):
        return [_rewrite_schema(item, write, under=under) for item in value]
    if isinstance(value, dict) and under == "properties":
        return {write("parameter", -1, str(name)): _rewrite_schema(item, write) for name, item in value.items()}
    if isinstance(value, dict):
        return {key: _rewrite_schema(item, write, under=key) for key, item in value.items()}
    return value


def with_default_system(conversation: Conversation, default_system: str | None) -> Conversation:
    """`conversation` with `default_system` in front, unless it begins with a system message that says something."""
    messages = conversation.messages
    if messages and messages[0].role == "system" and not messages[0].text:
        messages = messages[1:] if default_system else messages
    if not default_system or (messages and messages[0].role == "system"):
        return conversation
    system = Message(role="system", parts=(Text(default_system),))
    return Conversation(messages=(system, *messages), tools=conversation.tools, source=conversation.source)
