"""Reward 1 for an answer that says what the row's answer says, 0 for another.

Compared is the final answer: what stands in the last <answer>…</answer>, else in the last \\boxed{…}, else after the
last `####` (GSM8K), else the text behind the thoughts. Two are the same whatever their case, the space around them, a
full stop at the end and dollar signs; space within is one space, and numbers are compared as numbers (1,000 = 1000.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tunesmith.train.grpo.rewards.reward import DrawnAnswer

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?")
_THOUGHT_END = "</think>"


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """`exact_match`. Rows without an answer are not scored."""

    name: str = "exact_match"
    needs_reference: bool = True

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """1.0 or 0.0, None without a reference."""
        return [
            None if answer.reference is None else float(normalise(answer.text) == normalise(answer.reference))
            for answer in answers
        ]


def normalise(text: str) -> str | Decimal:
    """The final answer in `text`, in the form in which two are compared."""
    plain = " ".join(final_answer(text).replace("$", "").casefold().split()).removesuffix(".").rstrip()
    if not _NUMBER.fullmatch(plain):
        return plain
    try:
        return Decimal(plain.replace(",", ""))
    except InvalidOperation:
        return plain


def final_answer(text: str) -> str:
    """What `text` gives as its answer, by the marks that mathematical answers carry."""
    spoken = text.rpartition(_THOUGHT_END)[2]
    if tagged := _TAGGED.findall(spoken):
        return str(tagged[-1])
    boxed = _last_boxed(spoken)
    if boxed is not None:
        return boxed
    return spoken.rpartition("####")[2]


def _last_boxed(text: str) -> str | None:
    r"""What the last \boxed{…} holds, whose braces may hold braces; None without one, or where it is left open."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    begin = start + len("\\boxed{")
    depth = 1
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return None
