"""Placeholders in the text of turns, and the row's media in their places.

Knows no roles but the system's, whose text never holds media.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from tunesmith.chat.message import Media, MediaKind, Message, Part, Text
from tunesmith.data.formats.turns import KINDS, Piece, Slot, Turn
from tunesmith.data.problem import RowError


def mark_placeholders(turns: Iterable[Turn], kinds: frozenset[MediaKind]) -> list[Turn]:
    """The turns with every `<image>` of the counted `kinds` as a Slot of its own; elsewhere it is text."""
    return [_split_turn(turn, kinds) for turn in turns]


def put_first(turns: Sequence[Turn], media: Mapping[MediaKind, Sequence[Media]]) -> list[Turn]:
    """The turns with a Slot for each medium of a kind that none of them mentions, before the first question."""
    mentioned = {piece.kind for turn in turns for piece in turn.pieces if isinstance(piece, Slot)}
    slots = tuple(Slot(kind) for kind in KINDS if kind not in mentioned for _ in media.get(kind, ()))
    first = next((index for index, turn in enumerate(turns) if turn.role != "system"), None)
    return [
        replace(turn, pieces=(*slots, *turn.pieces)) if slots and index == first else turn
        for index, turn in enumerate(turns)
    ]


def check_counts(turns: Iterable[Turn], media: Mapping[MediaKind, Sequence[Media]]) -> None:
    """Raise RowError where the turns have another number of placeholders than the row has media."""
    found = Counter(piece.kind for turn in turns for piece in turn.pieces if isinstance(piece, Slot))
    for kind in KINDS:
        num_slots, num_media = found[kind], len(media.get(kind, ()))
        if num_slots != num_media:
            raise RowError(
                f"wrong number of {kind}s",
                f"the text has {num_slots} <{kind}> and the row has {num_media} {kind}{'s' * (num_media != 1)}",
            )


def fill_slots(turns: Iterable[Turn], media: Mapping[MediaKind, Sequence[Media]]) -> list[Message]:
    """The turns as messages, their slots filled with the media in order; the counts must agree."""
    queues = {kind: iter(media.get(kind, ())) for kind in KINDS}
    return [_fill(turn, queues) for turn in turns]


def _split_turn(turn: Turn, kinds: frozenset[MediaKind]) -> Turn:
    if turn.role == "system" or not kinds:
        return turn  # a system prompt may speak about "<image>"; media belong to the turns
    return replace(turn, pieces=tuple(part for piece in turn.pieces for part in _split_piece(piece, kinds)))


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


def _fill(turn: Turn, queues: Mapping[MediaKind, Iterator[Media]]) -> Message:
    parts: list[Part] = []
    for piece in turn.pieces:
        part = next(queues[piece.kind]) if isinstance(piece, Slot) else piece
        if not isinstance(part, Text) or part.text:
            parts.append(part)
    return Message(turn.role, tuple(parts), turn.reasoning, turn.tool_calls, turn.supervised)
