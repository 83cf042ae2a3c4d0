"""The content of one openai message: text, or a list of typed parts.

Parts may be text, media, thoughts and tool calls (`{"type": …, "value": …}`, as LLaMA-Factory's newer demo files
write them). Knows no roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.chat.message import MediaKind, Text, ToolCall
from tunesmith.data.formats.references import read_medium
from tunesmith.data.formats.tools import read_calls
from tunesmith.data.formats.turns import Piece, Slot
from tunesmith.data.formats.values import as_text, describe
from tunesmith.data.problem import RowError

_MEDIA_KINDS: dict[str, MediaKind] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
}
_PAYLOAD_KEYS = ("value", "url", "path", "image_url", "image", "video", "audio", "bytes", "data")


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says: its pieces in order, its thoughts, its calls."""

    pieces: tuple[Piece, ...] = ()
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


def read_content(value: object, folder: Path | None, where: str) -> Content:
    """The content `value` of the message `where`; paths of media are relative to `folder`. Raises RowError."""
    if isinstance(value, str):
        return Content((Text(value),))
    if not isinstance(value, list):
        raise RowError("wrong type", f"{where} has content {describe(value)}; expected text or a list of parts")
    pieces: list[Piece] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for index, part in enumerate(value):
        place = f"{where}, part {index}"
        kind, payload = _open_part(part, place)
        if kind in ("reasoning", "thinking"):
            thoughts.append(as_text(payload, place))
        elif kind == "tool_call":
            calls += read_calls(payload, place)
        else:
            pieces.append(_read_piece(kind, payload, folder, place))
    return Content(tuple(pieces), "\n".join(thoughts) or None, tuple(calls))


def _open_part(part: object, where: str) -> tuple[str, Any]:
    """(type, payload) of a part: the payload stands under the type's own name, under `value`, or under `url`…"""
    if isinstance(part, str):
        return "text", part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise RowError("wrong type", f"{where} is {describe(part)}; expected an object with a type")
    keys = (kind, *_PAYLOAD_KEYS)
    return kind, next((part[key] for key in keys if part.get(key) is not None), None)


def _read_piece(kind: str, payload: object, folder: Path | None, where: str) -> Piece:
    if kind in ("text", "input_text", "output_text"):
        return Text(as_text(payload, where))
    medium = _MEDIA_KINDS.get(kind)
    if medium is None:
        raise RowError("wrong type", f"{where} is of type {kind!r}; expected text, image_url, video_url or input_audio")
    return Slot(medium) if payload is None else read_medium(medium, payload, folder)
