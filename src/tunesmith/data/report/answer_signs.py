"""What a pair of answers, or an answer with a verdict, shows: pure functions of one row, and their sums.

Knows no findings; `findings/preferences.py` judges the sums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tunesmith.chat.message import Conversation, Message
from tunesmith.data.encoding.encoded import Encoded

EQUAL_ANSWERS = "chosen and rejected answer are the same"
ALIKE_ANSWERS = "chosen and rejected answer hardly differ"

LENGTH_OF_TREES = "a row is a prompt and two answers behind it; cutoff_len is for the prompt with either"

_GOOD, _BAD = b"good", b"bad"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """What is counted of a row whose answers are judged.

    lengths: tokens of the chosen and of the rejected answer of a pair
    verdict: whether the answer was marked good; None for a pair
    """

    lengths: tuple[int, int] = (0, 0)
    verdict: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerTotals:
    """Sums over rows whose answers are judged; `*_longer` count pairs in which that answer is the longer one."""

    pairs: int = 0
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    chosen_longer: int = 0
    rejected_longer: int = 0
    good: int = 0
    bad: int = 0

    def plus(self, row: JudgedRow) -> AnswerTotals:
        """The sums with one more row."""
        chosen, rejected = row.lengths
        is_pair = row.verdict is None
        return AnswerTotals(
            pairs=self.pairs + is_pair,
            chosen_tokens=self.chosen_tokens + chosen,
            rejected_tokens=self.rejected_tokens + rejected,
            chosen_longer=self.chosen_longer + (chosen > rejected),
            rejected_longer=self.rejected_longer + (rejected > chosen),
            good=self.good + (row.verdict is True),
            bad=self.bad + (row.verdict is False),
        )

    def describe(self) -> str:
        """One line for people; "" where nothing was judged."""
        if self.pairs:
            chosen, rejected = (round(total / self.pairs) for total in (self.chosen_tokens, self.rejected_tokens))
            return (
                f"chosen answers have {chosen:,} tokens in the mean, rejected ones {rejected:,}; the chosen one is "
                f"longer in {self.chosen_longer / self.pairs:.0%} of {self.pairs:,} pairs"
            )
        return f"{self.good:,} answers are marked good, {self.bad:,} bad" if self.good or self.bad else ""


def judged_row(encoded: Encoded, conversation: Conversation) -> JudgedRow | None:
    """What is counted of the row; None where nothing in it was judged."""
    if conversation.verdict is not None:
        return JudgedRow(verdict=conversation.verdict)
    if conversation.other_answer is None or len(encoded.branches) != 2:
        return None
    chosen, rejected = encoded.branches
    return JudgedRow((chosen, rejected))


def judged_ids(encoded: Encoded, verdict: bool | None) -> tuple[bytes, bytes]:
    """What tells the row from others, and what the row would be that says the opposite of it.

    A pair's opposite is the other way round. Of a row with a verdict only its own answer counts, and its opposite has
    the other verdict.
    """
    ids = encoded.input_ids
    if verdict is not None:
        own = encoded.answer(0).input_ids.tobytes()
        return (own + _GOOD, own + _BAD) if verdict else (own + _BAD, own + _GOOD)
    start, middle = encoded.num_shared, encoded.num_shared + encoded.branches[0]
    swapped = np.concatenate((ids[:start], ids[middle:], ids[start:middle]))
    return _with_edge(ids, middle), _with_edge(swapped, len(ids) - encoded.branches[0])


def _with_edge(ids: np.ndarray, edge: int) -> bytes:
    """The ids, and where the second answer begins."""
    return ids.tobytes() + edge.to_bytes(8, "little")


def likeness(conversation: Conversation) -> str | None:
    """EQUAL_ANSWERS or ALIKE_ANSWERS for the answers of a pair that are so."""
    other, answer = conversation.other_answer, conversation.messages[-1]
    if other is None or conversation.verdict is not None:
        return None
    if _said(answer) == _said(other):
        return EQUAL_ANSWERS
    has_calls = bool(answer.tool_calls or other.tool_calls)
    return ALIKE_ANSWERS if not has_calls and _words(answer) and _words(answer) == _words(other) else None


def _said(answer: Message) -> object:
    return answer.text.strip(), answer.reasoning, answer.tool_calls


def _words(answer: Message) -> list[str]:
    """The words of an answer and its thoughts: what is left without punctuation, spaces and capitals."""
    return _WORD.findall(f"{answer.reasoning or ''}\n{answer.text}".casefold())
