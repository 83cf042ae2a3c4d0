"""The turns that a format finds in a row, before placeholders are matched with media and before anything is checked.

Knows nothing of columns or tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.chat.message import Media, MediaKind, Role, Text, ToolCall

KINDS: tuple[MediaKind, ...] = ("image", "video", "audio")


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder: the next medium of this kind belongs here."""

    kind: MediaKind


Piece = Text | Media | Slot


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as the row has it: placeholders not matched with media yet, nothing checked."""

    role: Role
    pieces: tuple[Piece, ...]
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    supervised: bool = True


@dataclass(frozen=True, slots=True)
class RowTurns:
    """All turns of a row, the (chosen) answer last.

    other:   the rejected answer of a pair
    verdict: whether the answer was marked good; None where nobody judged it
    is_open: whether the row may end with the question, because the model answers it by itself
    """

    turns: Sequence[Turn]
    other: Turn | None = None
    verdict: bool | None = None
    is_open: bool = False

    @property
    def has_judged_answer(self) -> bool:
        """Whether the last answer alone is what the row is for: one of a pair, or one with a verdict."""
        return self.other is not None or self.verdict is not None


def text_turn(role: Role, text: str, *, supervised: bool = True) -> Turn:
    """A turn of plain text."""
    return Turn(role, (Text(text),), supervised=supervised)


def article(role: Role) -> str:
    """What messages call a turn: a user message, an assistant message."""
    return {"system": "a system", "user": "a user", "assistant": "an assistant", "tool": "a tool"}[role] + " message"
