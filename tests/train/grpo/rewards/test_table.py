"""The rewards of a run by their specs."""

from __future__ import annotations

import pytest

from tunesmith.config.grpo import GrpoSettings
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.train.grpo.rewards.table import build_rewards


def rewards_of(**grpo):
    return build_rewards(Settings(grpo=GrpoSettings(**grpo)))


def test_every_reward_has_a_name_of_its_own_and_a_weight() -> None:
    rewards = rewards_of(reward_funcs=["format", "regex: a", "regex: b"], reward_weights="1,2,0.5")
    assert [(one.reward.name, one.weight) for one in rewards] == [("format", 1.0), ("regex", 2.0), ("regex_2", 0.5)]


def test_without_weights_all_count_alike() -> None:
    assert [one.weight for one in rewards_of(reward_funcs="exact_match,format")] == [1.0, 1.0]


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="reward_weights has 1 numbers for 2 rewards"):
        rewards_of(reward_funcs="exact_match,format", reward_weights="1")
