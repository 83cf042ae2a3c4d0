"""A chat as a file: OpenAI-style messages that the data loader reads back as a dataset of one row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.chat.message import Conversation, Message, Part, Text
from tunesmith.errors import RunError, UsageError


def conversation_to_row(conversation: Conversation) -> dict[str, Any]:
    """`{"messages": [{"role", "content"}, …]}`; content with images is a list of parts, images by absolute path."""
    return {"messages": [_message_to_dict(message) for message in conversation.messages]}


def save_conversation(conversation: Conversation, path: Path) -> None:
    """Write the conversation to `path` (.json), a list of one row. Raises UsageError or RunError."""
    if path.suffix.lower() != ".json":
        raise UsageError(f"/save {path}: the file is written as JSON, so its name must end in .json")
    text = json.dumps([conversation_to_row(conversation)], ensure_ascii=False, indent=2)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the conversation to {path}: {error.strerror}") from error


def _message_to_dict(message: Message) -> dict[str, Any]:
    if all(isinstance(part, Text) for part in message.parts):
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_part_to_dict(part) for part in message.parts]}


def _part_to_dict(part: Part) -> dict[str, str]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": part.kind, part.kind: str(Path(part.name).resolve())}
