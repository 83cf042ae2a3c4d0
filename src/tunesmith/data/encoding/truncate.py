"""cutoff_len: which part of a conversation that is too long is kept.

An exchange is what stands from one question to the last answer before the next question, tools and their results
included. In this order, the first that fits wins:

1. Whole exchanges go from the end, so that what stays is the conversation as it began. With mask_history, where only
   the last answer is learned, they go from the beginning. The system message stays.
2. Of a single exchange that holds several answers (tool calls), whole turns go from the end, down to the first answer.
3. The longest text of the prompt (a tool's result, a question) loses its middle: what is asked stands at its ends.
4. The last answer loses its end; its end-of-turn token stays, since the text is rendered anew.
5. Both.

Of two answers to one prompt the longer counts, 2 is left out, and each that does not fit loses its end; the prompt is
the same for both.

Media, system message, tools and thoughts are never cut; if these alone are too long, the row is too long.
Pure functions of a conversation and a measure of its tokens; knows nothing of templates or ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from tunesmith.chat.message import Conversation, Message, Text

CUT_MARK = " … "
"""Stands where the middle of a prompt's text was."""

_SHORTEST_PROMPT = 64
"""Characters of a prompt's text below which it is not worth cutting."""

_THOUGHTS_END = "</think>"

Measure = Callable[[Conversation], int]
Fits = Callable[[Conversation], bool]


@dataclass(frozen=True, slots=True)
class Cut:
    """A conversation that fits, and what it lost: whole `turns`, or `text` inside one. `detail` is for the user.

    Of a judged answer's row, `comparison` is another row's answer that had to lose its end, and nothing else.
    """

    conversation: Conversation
    kind: Literal["turns", "text", "comparison"]
    detail: str


def cut_to_fit(conversation: Conversation, *, limit: int, measure: Measure, keep_last: bool = False) -> Cut | None:
    """The longest cut of `conversation` whose `measure` is at most `limit`, or None if there is none.

    `measure` counts the tokens of a conversation, media included, and grows with it; of one with another answer those
    with the longer of both. `keep_last` drops the oldest exchanges instead of the newest (mask_history). Called for
    conversations that are too long.
    """
    system, exchanges = _split(conversation.messages)
    if not exchanges:
        return None

    def joined(kept: Sequence[tuple[Message, ...]]) -> Conversation:
        return replace(conversation, messages=(*system, *(message for exchange in kept for message in exchange)))

    def shortened(count: int) -> Conversation:
        return joined(exchanges[-count:] if keep_last else exchanges[:count])

    count = _largest(lambda count: measure(shortened(count)) <= limit, upper=len(exchanges) - 1)
    if count:
        return Cut(shortened(count), "turns", f"{len(exchanges) - count} of {len(exchanges)} exchanges cut")
    lost = f"{len(exchanges) - 1} of {len(exchanges)} exchanges and " if len(exchanges) > 1 else ""
    return _cut_exchange(shortened(1), limit=limit, measure=measure, lost=lost)


def cut_other_answer(conversation: Conversation, *, limit: int, measure: Measure) -> Conversation | None:
    """`conversation` whose other answer lost its end, where it is too long with it; None if too little of it may go.

    `measure` counts the tokens of a conversation without another answer.
    """
    ended = _with_shorter_end(conversation.with_other_answer, fits=lambda candidate: measure(candidate) <= limit)
    return None if ended is None else replace(conversation, other_answer=ended.messages[-1])


def _split(messages: Sequence[Message]) -> tuple[tuple[Message, ...], list[tuple[Message, ...]]]:
    """(leading system messages, exchanges). A question that follows an answer begins an exchange."""
    first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    starts = [first] + [
        index + 1
        for index, (before, after) in enumerate(pairwise(messages))
        if index >= first and before.role == "assistant" and after.role in ("user", "system")
    ]
    edges = [*starts, len(messages)]
    return tuple(messages[:first]), [tuple(messages[start:end]) for start, end in pairwise(edges) if start < end]


def _cut_exchange(conversation: Conversation, *, limit: int, measure: Measure, lost: str) -> Cut | None:
    if conversation.other_answer is not None:
        return _cut_text(conversation, limit=limit, measure=measure, lost=lost)
    messages = conversation.messages
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    for index in reversed(answers[:-1]):
        shorter = replace(conversation, messages=messages[: index + 1])
        if measure(shorter) <= limit:
            return Cut(shorter, "turns", f"{lost}{len(messages) - index - 1} turns of one exchange cut")
    shorter = replace(conversation, messages=messages[: answers[0] + 1]) if answers else conversation
    if len(shorter.messages) < len(messages):
        lost += f"{len(messages) - len(shorter.messages)} turns and "
    return _cut_text(shorter, limit=limit, measure=measure, lost=lost)


def _cut_text(conversation: Conversation, *, limit: int, measure: Measure, lost: str) -> Cut | None:
    prompt = _longest_prompt_text(conversation)

    def fits(candidate: Conversation) -> bool:
        return measure(candidate) <= limit

    if prompt is not None:
        found = _shorten(conversation, prompt, shorter=_without_middle, least=_SHORTEST_PROMPT, fits=fits)
        if found is not None:
            return Cut(found, "text", f"{lost}the middle of a prompt's text cut")
    found = _with_shorter_ends(conversation, fits=fits)
    if found is not None:
        return Cut(found, "text", f"{lost}the end of an answer cut")
    if prompt is None:
        return None
    least = _with_text(conversation, prompt, _without_middle(_text_at(conversation, prompt), _SHORTEST_PROMPT))
    found = _with_shorter_ends(least, fits=fits)
    return Cut(found, "text", f"{lost}the middle of a prompt's text and the end of an answer cut") if found else None


def _with_shorter_ends(conversation: Conversation, *, fits: Fits) -> Conversation | None:
    """`conversation` in which every answer to its prompt that is too long has lost its end."""
    first = replace(conversation, other_answer=None)
    ended = first if fits(first) else _with_shorter_end(first, fits=fits)
    if ended is None or conversation.other_answer is None:
        return ended
    other = conversation.with_other_answer
    other_ended = other if fits(other) else _with_shorter_end(other, fits=fits)
    return None if other_ended is None else replace(ended, other_answer=other_ended.messages[-1])


def _with_shorter_end(conversation: Conversation, *, fits: Fits) -> Conversation | None:
    answer = _last_answer_text(conversation)
    if answer is None:
        return None
    least = _end_of_thoughts(_text_at(conversation, answer)) + 1
    return _shorten(conversation, answer, shorter=_without_end, least=least, fits=fits)


_Place = tuple[int, int]
"""(message, part) of a text."""


def _longest_prompt_text(conversation: Conversation) -> _Place | None:
    """The longest text of a user or a tool, if it is long enough to cut."""
    places = [
        (len(part.text), -index, -number)
        for index, message in enumerate(conversation.messages)
        for number, part in enumerate(message.parts)
        if isinstance(part, Text) and message.role in ("user", "tool") and len(part.text) > _SHORTEST_PROMPT
    ]
    if not places:
        return None
    _, index, number = max(places)
    return -index, -number


def _last_answer_text(conversation: Conversation) -> _Place | None:
    index = len(conversation.messages) - 1
    answer = conversation.messages[index]
    if answer.role != "assistant" or answer.tool_calls:
        return None
    texts = [number for number, part in enumerate(answer.parts) if isinstance(part, Text) and part.text]
    return (index, texts[-1]) if texts else None


def _shorten(
    conversation: Conversation,
    place: _Place,
    *,
    shorter: Callable[[str, int], str],
    least: int,
    fits: Fits,
) -> Conversation | None:
    """`conversation` with the text at `place` cut to as many characters as fit, at least `least`; None if none do."""
    text = _text_at(conversation, place)

    def cut(count: int) -> Conversation:
        return _with_text(conversation, place, shorter(text, count))

    if not fits(cut(least)):
        return None
    extra = _largest(lambda extra: fits(cut(least + extra)), upper=len(text) - 1 - least)
    return cut(least + extra)


def _largest(fits: Callable[[int], bool], *, upper: int) -> int:
    """The largest count in 1..upper that fits, by bisection; 0 if none does."""
    low, high = 0, max(upper, 0)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _without_middle(text: str, count: int) -> str:
    return f"{text[: count - count // 2]}{CUT_MARK}{text[len(text) - count // 2 :]}"


def _without_end(text: str, count: int) -> str:
    return text[:count]


def _end_of_thoughts(text: str) -> int:
    """How many characters of an answer are thoughts written into it, which must stay closed; 0 without any."""
    return text.rfind(_THOUGHTS_END) + len(_THOUGHTS_END) if _THOUGHTS_END in text else 0


def _text_at(conversation: Conversation, place: _Place) -> str:
    part = conversation.messages[place[0]].parts[place[1]]
    assert isinstance(part, Text)
    return part.text


def _with_text(conversation: Conversation, place: _Place, text: str) -> Conversation:
    index, number = place
    messages, message = conversation.messages, conversation.messages[index]
    parts = (*message.parts[:number], Text(text), *message.parts[number + 1 :])
    return replace(conversation, messages=(*messages[:index], replace(message, parts=parts), *messages[index + 1 :]))
