"""Reward 1 for an answer that a regular expression fits, 0 for another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.train.grpo.rewards.reward import DrawnAnswer


@dataclass(frozen=True, slots=True)
class PatternReward:
    """`regex: PATTERN`, found anywhere in the answer; `fullmatch: PATTERN`, which all of it must fit.

    A dot fits a line's end too. Space around the answer does not count for fullmatch.
    """

    name: str
    pattern: re.Pattern[str]
    whole: bool
    needs_reference: bool = False

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """1.0 or 0.0."""
        return [float(self._fits(answer.text)) for answer in answers]

    def _fits(self, text: str) -> bool:
        found = self.pattern.fullmatch(text.strip()) if self.whole else self.pattern.search(text)
        return found is not None


def build_pattern_reward(kind: str, pattern: str) -> PatternReward:
    """The reward of a spec `regex: …` or `fullmatch: …`, whose pattern was checked with the settings."""
    return PatternReward(kind, re.compile(pattern, re.DOTALL), whole=kind == "fullmatch")
