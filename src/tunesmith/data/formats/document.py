"""Documents: text to continue, media in it by placeholders or as OpenAI's typed parts.

A document is a conversation of one assistant message. Knows no formats of conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.chat.message import Conversation
from tunesmith.data.formats.content import read_content
from tunesmith.data.formats.conversation import check_encodable
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.placeholders import check_counts, fill_slots, mark_placeholders, put_first
from tunesmith.data.formats.references import read_media
from tunesmith.data.formats.turns import KINDS, Turn
from tunesmith.data.problem import RowError


def read_document(row: Mapping[str, Any], layout: Layout) -> Conversation:
    """The document of one row. Media that its text does not mention stand before it. Raises RowError."""
    column = layout.columns.prompt or "text"
    if row.get(column) is None:
        raise RowError("no text", f"there is no column {column!r} (columns here: {', '.join(row) or 'none'})")
    content = read_content(row[column], layout.media_folder, column)
    if content.reasoning or content.tool_calls:
        raise RowError("wrong type", f"{column} holds thoughts or tool calls; a document has text and media")
    media = read_media(row, layout)
    counted = layout.expects_media | {kind for kind in KINDS if media.get(kind)}
    turns = put_first(mark_placeholders([Turn("assistant", content.pieces)], counted), media)
    check_counts(turns, media)
    (message,) = fill_slots(turns, media)
    check_encodable(message, column)
    if not message.text.strip() and len(message.parts) <= 1:
        raise RowError("empty document", f"{column} holds no text")
    return Conversation(messages=(message,))
