"""Drawn answers for tests of rewards."""

from __future__ import annotations

from typing import Any

from tunesmith.chat.message import Conversation, Message, RowSource, Text
from tunesmith.train.grpo.rewards.reward import DrawnAnswer


def drawn(text: str, *, reference: str | None = None, row: int = 0, **columns: Any) -> DrawnAnswer:
    """An answer to row number `row`, which has these columns."""
    asked = Conversation((Message("user", (Text("How much?"),)),), source=RowSource("rows.json", row))
    return DrawnAnswer(asked, "user: How much?", text, tuple(range(len(text))), reference, columns)
