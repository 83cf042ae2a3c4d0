"""The rewards of a run, by the specs in `reward_funcs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tunesmith.config.grpo import GrpoSettings
from tunesmith.config.reward_specs import PATTERNS, parse_reward_spec
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.train.grpo.rewards.answer_format import AnswerFormat
from tunesmith.train.grpo.rewards.exact_match import ExactMatch
from tunesmith.train.grpo.rewards.function import FunctionReward, load_function
from tunesmith.train.grpo.rewards.learned import LearnedReward, load_learned_reward
from tunesmith.train.grpo.rewards.pattern import PatternReward, build_pattern_reward
from tunesmith.train.grpo.rewards.reward import Reward

_Named = ExactMatch | AnswerFormat | PatternReward | FunctionReward | LearnedReward


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """A reward and what it counts."""

    reward: Reward
    weight: float


def build_rewards(settings: Settings) -> tuple[WeightedReward, ...]:
    """The rewards in their order, each with a name of its own. Loads the reward model, where there is one.

    Raises UsageError for a spec that names no reward, ModelError for a reward model that cannot be read.
    """
    rewards = list(_with_own_names([_build(spec, settings) for spec in _specs(settings.grpo)]))
    weights = settings.grpo.reward_weights or (1.0,) * len(rewards)
    if len(weights) != len(rewards):
        raise UsageError(f"reward_weights has {len(weights)} numbers for {len(rewards)} rewards; give each one")
    return tuple(WeightedReward(reward, weight) for reward, weight in zip(rewards, weights, strict=True))


def _specs(grpo: GrpoSettings) -> list[str]:
    """Those of reward_funcs; a reward_model that none of them names comes last."""
    specs = list(map(str, grpo.reward_funcs))
    return specs if grpo.reward_model is None or "reward_model" in specs else [*specs, "reward_model"]


def _build(spec: str, settings: Settings) -> _Named:
    try:
        kind, argument = parse_reward_spec(spec)
    except ValueError as error:
        raise UsageError(f"reward_funcs: {error}") from None
    if kind in PATTERNS:
        return build_pattern_reward(kind, argument)
    if kind == "function":
        return load_function(argument)
    if kind == "reward_model":
        return load_learned_reward(settings)
    return ExactMatch() if kind == "exact_match" else AnswerFormat()


def _with_own_names(rewards: Sequence[_Named]) -> Iterator[Reward]:
    """Two of one name become `regex` and `regex_2`."""
    seen: Counter[str] = Counter()
    for reward in rewards:
        seen[reward.name] += 1
        yield reward if seen[reward.name] == 1 else replace(reward, name=f"{reward.name}_{seen[reward.name]}")
