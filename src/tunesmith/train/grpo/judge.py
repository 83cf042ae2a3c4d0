"""Between TRL, which asks one reward after another, and the rewards: answers are made once, scored, checked and kept.

TRL hands over prompts as their numbers. What was judged last is what samples.jsonl shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.train.grpo.prompts import Prompt, Prompts
from tunesmith.train.grpo.rewards.reward import DrawnAnswer
from tunesmith.train.grpo.rewards.scores import check_scores
from tunesmith.train.grpo.rewards.table import WeightedReward


@dataclass(slots=True)
class Judge:
    """Scores drawn answers by the rewards of the run.

    decode:  the text of an answer's tokens, the end-of-turn token left out
    answers: of the last drawing; scores: of each reward by its name, an entry an answer
    """

    prompts: Prompts
    rewards: tuple[WeightedReward, ...]
    decode: Callable[[Sequence[int]], str]
    answers: tuple[DrawnAnswer, ...] = field(default=(), init=False)
    scores: dict[str, list[float | None]] = field(default_factory=dict, init=False)
    _new_tokens: int = field(default=0, init=False)
    _asked: frozenset[int] = field(default=frozenset(), init=False)

    @property
    def mean_reward(self) -> float | None:
        """Over the answers of the last drawing to which a reward applies; None where there are none."""
        totals = [total for index in range(len(self.answers)) if (total := self.total(index)) is not None]
        return sum(totals) / len(totals) if totals else None

    def ask(self, numbers: Sequence[int]) -> dict[int, Prompt]:
        """The prompts that answers are about to be drawn to, by their numbers."""
        self._asked = frozenset(numbers)
        return {number: self.prompts[number] for number in self._asked}

    def take(self, numbers: Sequence[int], ids: Sequence[Sequence[int]]) -> None:
        """The answers of a new drawing: of each the number of its prompt, and its tokens."""
        assert self._asked == set(numbers), "answers are drawn to the ids that were asked for, and to nothing else"
        prompts = {number: self.prompts[number] for number in self._asked}
        self.answers = tuple(
            prompts[number].answered(self.decode(tokens), tokens) for number, tokens in zip(numbers, ids, strict=True)
        )
        self.scores = {}
        self._new_tokens += sum(map(len, ids))

    def pop_new_tokens(self) -> int:
        """Tokens of the answers drawn since the last call."""
        count, self._new_tokens = self._new_tokens, 0
        return count

    def score(self, weighted: WeightedReward) -> list[float | None]:
        """What one reward gives the answers in hand. Raises UsageError where it cannot, or gives what is no score."""
        reward = weighted.reward
        sources = [answer.conversation.source for answer in self.answers]
        scores = check_scores(reward.name, reward.score(self.answers), sources)
        self.scores[reward.name] = scores
        return scores

    def total(self, index: int) -> float | None:
        """The weighted sum of the scores of one answer; None where no reward applies to it."""
        given = [(weighted.weight, self.scores[weighted.reward.name][index]) for weighted in self.rewards]
        numbers = [weight * score for weight, score in given if score is not None]
        return sum(numbers) if numbers else None


def reward_functions(judge: Judge) -> list[Callable[..., list[float | None]]]:
    """TRL's reward functions, one for each reward, under its name."""
    return [_function(judge, weighted, is_first=index == 0) for index, weighted in enumerate(judge.rewards)]


def _function(judge: Judge, weighted: WeightedReward, *, is_first: bool) -> Callable[..., list[float | None]]:
    def score(*, completion_ids: Sequence[Sequence[int]], number: Sequence[int], **_: Any) -> list[float | None]:
        if is_first:  # TRL asks in order
            judge.take(number, completion_ids)
        return judge.score(weighted)

    score.__name__ = weighted.reward.name
    return score
