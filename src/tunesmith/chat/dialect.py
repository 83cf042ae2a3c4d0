"""What a chat template understands, found by trying it on small conversations: templates do not say.

Text content as a string or as a list of parts, a reasoning field, tool calls in one of several shapes, media.
Each answer is computed once per template. Knows nothing of real rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from tunesmith.chat.message import MediaKind, Role
from tunesmith.chat.template import ChatTemplate, TemplateMessage, TemplateRefusalError

_WORD = "Probe7f3"
_OTHER = "Other5c1"
_TOOL = "probe_tool"
_VALUE = "ProbeValue9"
_PRINTED_PARTS = ("'type'", '"type"', "{'")


@dataclass(frozen=True, slots=True)
class CallStyle:
    """The shape in which a template takes tool calls.

    null_content:   the content beside calls without text is None instead of ""
    ids:            calls and results carry an id
    json_arguments: arguments are a JSON string instead of an object
    """

    null_content: bool = False
    ids: bool = False
    json_arguments: bool = False


@lru_cache(maxsize=256)
def takes_lists_only(template: ChatTemplate, role: Role) -> bool:
    """Whether text of `role` must be passed as a list of parts, as most processors' templates want it."""
    as_text = _attempt(template, _probe(template, role, _WORD))
    if as_text is not None and _WORD in as_text:
        return False
    as_list = _attempt(template, _probe(template, role, [{"type": "text", "text": _WORD}]))
    return as_list is not None and _WORD in as_list and not _prints_parts(as_list)


@lru_cache(maxsize=256)
def places_media(template: ChatTemplate, role: Role, kind: MediaKind) -> bool:
    """Whether a part of `kind` in a message of `role` changes the text, as a placeholder does."""
    text = {"type": "text", "text": _WORD}
    bare = _attempt(template, _probe(template, role, [text]))
    placed = _attempt(template, _probe(template, role, [{"type": kind}, text]))
    return placed is not None and placed != bare and _WORD in placed and not _prints_parts(placed)


@lru_cache(maxsize=64)
def reads_reasoning(template: ChatTemplate) -> bool:
    """Whether the template writes the `reasoning_content` (or `thinking`) of the last answer."""
    user = probe_message(template, "user", _OTHER)
    answer = probe_message(template, "assistant", _OTHER) | {"reasoning_content": _WORD, "thinking": _WORD}
    text = _attempt(template, [user, answer])
    return text is not None and _WORD in text


@lru_cache(maxsize=64)
def call_style(template: ChatTemplate) -> CallStyle | None:
    """The first shape of tool calls that the template renders completely, None where it renders none."""
    printed: CallStyle | None = None
    for null_content, json_arguments, ids in product((False, True), repeat=3):
        style = CallStyle(null_content=null_content, ids=ids, json_arguments=json_arguments)
        text = _attempt(template, _probe_call(template, style), tools=[_PROBE_SCHEMA])
        if text is None or _TOOL not in text or _VALUE not in text:
            continue
        if f"'{_VALUE}'" not in text:
            return style
        # Python's way of printing an object: right for templates with Python-like calls only.
        printed = printed or style
    return printed


def probe_message(template: ChatTemplate, role: Role, text: str) -> TemplateMessage:
    """A message of `role` in the form the template takes."""
    content: object = [{"type": "text", "text": text}] if takes_lists_only(template, role) else text
    return {"role": role, "content": content}


def _probe(template: ChatTemplate, role: Role, content: object) -> list[TemplateMessage]:
    message = {"role": role, "content": content}
    if role == "user":
        return [message]
    user = probe_message(template, "user", _OTHER)
    if role == "system":
        return [message, user]
    if role == "assistant":
        return [user, message]
    return [user, probe_message(template, "assistant", _OTHER), message]


_PROBE_SCHEMA: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "listed_tool",
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "description": "A word."}},
            "required": ["word"],
        },
    },
}


def _probe_call(template: ChatTemplate, style: CallStyle) -> list[TemplateMessage]:
    arguments: object = {"word": _VALUE}
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": _TOOL, "arguments": json.dumps(arguments) if style.json_arguments else arguments},
    }
    result: TemplateMessage = {"role": "tool", "name": _TOOL, "content": _OTHER}
    if style.ids:
        call["id"] = result["tool_call_id"] = call_id(0)
    assistant = {"role": "assistant", "content": None if style.null_content else "", "tool_calls": [call]}
    return [probe_message(template, "user", _OTHER), assistant, result]


def call_id(number: int) -> str:
    """An id for the `number`th call of a conversation whose row has none: 9 letters and digits, as Mistral asks."""
    return f"call{number:05d}"


def _attempt(
    template: ChatTemplate, messages: list[TemplateMessage], tools: list[Mapping[str, Any]] | None = None
) -> str | None:
    try:
        return template.render(messages, tools=tools)
    except TemplateRefusalError:
        return None


def _prints_parts(text: str) -> bool:
    """Whether the template printed the list of parts as Python or JSON would, rather than walk through it."""
    return any(sign in text for sign in _PRINTED_PARTS)
