"""From the turns a format found in a row to one checked Conversation.

Every format ends here, so the rules are the same for all: placeholders are matched one to one with the row's media,
roles alternate, every answer says something. Knows nothing of columns or tags.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tunesmith.chat.message import Conversation, Media, MediaKind, Message, Part, Role, Text, ToolCall
from tunesmith.data.problem import RowError

KINDS: tuple[MediaKind, ...] = ("image", "video", "audio")

_MAY_FOLLOW: dict[Role, tuple[Role, ...]] = {
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),  # several results after one another answer parallel calls
}


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


def text_turn(role: Role, text: str, *, supervised: bool = True) -> Turn:
    """A turn of plain text."""
    return Turn(role, (Text(text),), supervised=supervised)


def build_conversation(
    turns: Sequence[Turn],
    *,
    media: Mapping[MediaKind, Sequence[Media]],
    expected: frozenset[MediaKind],
    tools: tuple[dict[str, Any], ...] = (),
) -> Conversation:
    """The conversation of one row: placeholders become the row's `media` in their order, turns are checked.

    A kind's placeholders count where the row has media of the kind or the dataset expects them; elsewhere
    `<image>` is text like any other. Raises RowError.
    """
    _check_order(turns)
    counted = expected | {kind for kind in KINDS if media.get(kind)}
    split = [_split_turn(turn, counted) for turn in turns]
    _check_counts(split, media)
    queues = {kind: iter(media.get(kind, ())) for kind in KINDS}
    messages = tuple(_fill(turn, queues) for turn in split)
    _check_answers(messages)
    return Conversation(messages=messages, tools=tools)


def _check_order(turns: Sequence[Turn]) -> None:
    if not turns:
        raise RowError("no messages", "the list of messages is empty")
    first = turns[0].role
    if first not in ("system", "user"):
        raise RowError("wrong role order", f"message 0 is {_article(first)}; a conversation starts with the user")
    for position, (before, after) in enumerate(pairwise(turns), start=1):
        if after.role not in _MAY_FOLLOW[before.role]:
            allowed = " or ".join(_MAY_FOLLOW[before.role])
            raise RowError(
                "wrong role order",
                f"message {position} is {_article(after.role)} after {_article(before.role)}; expected {allowed}",
            )
    last = turns[-1].role
    if not any(turn.role == "assistant" for turn in turns):
        raise RowError("no answer", "there is no assistant message")
    if last != "assistant":
        raise RowError(
            "wrong role order", f"the last message (number {len(turns) - 1}) is {_article(last)}, not the assistant's"
        )


def _article(role: Role) -> str:
    return {"system": "a system", "user": "a user", "assistant": "an assistant", "tool": "a tool"}[role] + " message"


def _split_turn(turn: Turn, kinds: frozenset[MediaKind]) -> Turn:
    if turn.role == "system" or not kinds:
        return turn  # a system prompt may speak about "<image>"; media belong to the turns
    pieces = [part for piece in turn.pieces for part in _split_piece(piece, kinds)]
    return Turn(turn.role, tuple(pieces), turn.reasoning, turn.tool_calls, turn.supervised)


def _split_piece(piece: Piece, kinds: frozenset[MediaKind]) -> Iterator[Piece]:
    if not isinstance(piece, Text):
        yield piece
        return
    pattern = "|".join(f"<({kind})>" for kind in KINDS if kind in kinds)
    position = 0
    for match in re.finditer(pattern, piece.text):
        yield Text(piece.text[position : match.start()])
        yield from (Slot(kind) for kind in KINDS if match.group() == f"<{kind}>")
        position = match.end()
    yield Text(piece.text[position:])


def _check_counts(turns: Sequence[Turn], media: Mapping[MediaKind, Sequence[Media]]) -> None:
    found = Counter(piece.kind for turn in turns for piece in turn.pieces if isinstance(piece, Slot))
    for kind in KINDS:
        num_slots, num_media = found[kind], len(media.get(kind, ()))
        if num_slots != num_media:
            raise RowError(
                f"wrong number of {kind}s",
                f"the text has {num_slots} <{kind}> and the row has {num_media} {kind}{'s' * (num_media != 1)}",
            )


def _fill(turn: Turn, queues: Mapping[MediaKind, Iterator[Media]]) -> Message:
    parts: list[Part] = []
    for piece in turn.pieces:
        part = next(queues[piece.kind]) if isinstance(piece, Slot) else piece
        if not isinstance(part, Text) or part.text:
            parts.append(part)
    return Message(turn.role, tuple(parts), turn.reasoning, turn.tool_calls, turn.supervised)


def _check_answers(messages: Sequence[Message]) -> None:
    for position, message in enumerate(messages):
        _check_encodable(message, position)
        has_media = any(isinstance(part, Media) for part in message.parts)
        if message.role == "assistant" and not (message.text.strip() or message.tool_calls or has_media):
            raise RowError("empty answer", f"message {position} (assistant) has no text and no tool call")
    if not any(message.supervised for message in messages if message.role == "assistant"):
        raise RowError("nothing to learn", "every assistant message has loss switched off")


def _check_encodable(message: Message, position: int) -> None:
    try:
        message.text.encode()
        (message.reasoning or "").encode()
    except UnicodeEncodeError as error:
        broken = repr(error.object[error.start : error.end])
        raise RowError(
            "broken text", f"message {position} ({message.role}) holds half a character, the lone surrogate {broken}"
        ) from None
