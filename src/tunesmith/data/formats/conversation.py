"""From the turns a format found in a row to one checked Conversation.

Every format ends here, so the rules are the same for all: placeholders are matched one to one with the row's media,
roles alternate, every answer says something, and answers that are compared hold no media. Knows nothing of columns or
tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tunesmith.chat.message import Conversation, Media, MediaKind, Message, Role, Text
from tunesmith.data.formats.placeholders import check_counts, fill_slots, mark_placeholders, put_first
from tunesmith.data.formats.turns import KINDS, RowTurns, Turn, article
from tunesmith.data.problem import RowError

_MAY_FOLLOW: dict[Role, tuple[Role, ...]] = {
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),  # several results after one another answer parallel calls
}


def build_conversation(
    found: RowTurns,
    *,
    media: Mapping[MediaKind, Sequence[Media]],
    expected: frozenset[MediaKind],
    tools: tuple[dict[str, Any], ...] = (),
    unplaced_first: bool = False,
) -> Conversation:
    """The conversation of one row: placeholders become the row's `media` in their order, turns are checked.

    A kind's placeholders count where the row has media of the kind or the dataset expects them; elsewhere
    `<image>` is text like any other. `unplaced_first`: media of a kind that no turn mentions stand before the first
    question, instead of being refused. Raises RowError.
    """
    _check_order(found)
    counted = expected | {kind for kind in KINDS if media.get(kind)}
    turns = mark_placeholders(found.turns, counted)
    other = mark_placeholders([found.other] if found.other else [], counted)
    if found.has_judged_answer:
        _refuse_media([turns[-1], *other])
    turns = put_first(turns, media) if unplaced_first else turns
    check_counts(turns, media)
    messages = fill_slots(turns, media)
    others = fill_slots(other, {})
    _check_answers(messages, others, is_open=found.is_open)
    if found.has_judged_answer:
        _require_in_loss([messages[-1], *others])
    return Conversation(
        messages=tuple(messages), tools=tools, other_answer=next(iter(others), None), verdict=found.verdict
    )


def _check_order(found: RowTurns) -> None:
    turns = found.turns
    if not turns:
        raise RowError("no messages", "the list of messages is empty")
    first = turns[0].role
    if first not in ("system", "user"):
        raise RowError("wrong role order", f"message 0 is {article(first)}; a conversation starts with the user")
    for position, (before, after) in enumerate(pairwise(turns), start=1):
        if after.role not in _MAY_FOLLOW[before.role]:
            allowed = " or ".join(_MAY_FOLLOW[before.role])
            raise RowError(
                "wrong role order",
                f"message {position} is {article(after.role)} after {article(before.role)}; expected {allowed}",
            )
    _check_end(turns, is_open=found.is_open)


def _check_end(turns: Sequence[Turn], *, is_open: bool) -> None:
    last = turns[-1].role
    if is_open and last in ("user", "tool"):
        return
    if not any(turn.role == "assistant" for turn in turns):
        raise RowError("no answer", "there is no assistant message")
    if last != "assistant":
        raise RowError(
            "wrong role order", f"the last message (number {len(turns) - 1}) is {article(last)}, not the assistant's"
        )


def _refuse_media(answers: Sequence[Turn]) -> None:
    """Answers share everything before them, media too, so they hold text alone."""
    for answer in answers:
        held = next((piece for piece in answer.pieces if not isinstance(piece, Text)), None)
        if held is not None:
            raise RowError(
                f"{held.kind} in an answer",
                f"an answer that is compared holds a placeholder or part for a medium ({held.kind}); move it to the "
                "prompt, which the answers share",
            )


def _check_answers(messages: Sequence[Message], others: Sequence[Message], *, is_open: bool) -> None:
    for position, message in enumerate(messages):
        _check_answer(message, f"message {position} ({message.role})")
    for message in others:
        _check_answer(message, "the rejected answer")
    answers = [message for message in messages if message.role == "assistant"]
    if answers and not is_open and not any(message.supervised for message in answers):
        raise RowError("nothing to learn", "every assistant message has loss switched off")


def _check_answer(message: Message, where: str) -> None:
    check_encodable(message, where)
    has_media = any(isinstance(part, Media) for part in message.parts)
    if message.role == "assistant" and not (message.text.strip() or message.tool_calls or has_media):
        raise RowError("empty answer", f"{where} has no text and no tool call")


def _require_in_loss(answers: Sequence[Message]) -> None:
    if not all(answer.supervised for answer in answers):
        raise RowError("nothing to learn", "an answer that is compared has loss switched off; remove the flag")


def check_encodable(message: Message, where: str) -> None:
    """Raise RowError for text that no encoding can write."""
    try:
        message.text.encode()
        (message.reasoning or "").encode()
    except UnicodeEncodeError as error:
        broken = repr(error.object[error.start : error.end])
        raise RowError("broken text", f"{where} holds half a character, the lone surrogate {broken}") from None
