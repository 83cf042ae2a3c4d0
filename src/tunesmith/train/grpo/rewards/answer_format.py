"""Reward 1 for an answer of the form <think>…</think><answer>…</answer>, 0 for another (DeepSeek-R1, arXiv 2501.12948).

Space may stand between and around the two; each tag stands once, and nothing else outside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.train.grpo.rewards.reward import DrawnAnswer

_FORM = re.compile(r"\s*<think>(.+?)</think>\s*<answer>(.+?)</answer>\s*", re.DOTALL)
_TAGS = re.compile(r"</?(?:think|answer)>")


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """`format`."""

    name: str = "format"
    needs_reference: bool = False

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """1.0 or 0.0."""
        return [float(has_form(answer.text)) for answer in answers]


def has_form(text: str) -> bool:
    """Whether `text` is a thought and an answer, each with its tags, in this order."""
    return _FORM.fullmatch(text) is not None and len(_TAGS.findall(text)) == 4
