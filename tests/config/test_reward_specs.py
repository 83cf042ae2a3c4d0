"""What may stand in reward_funcs and reward_weights."""

from __future__ import annotations

import pytest

from tunesmith.config.reward_specs import (
    RewardSpec,
    find_wrong_specs,
    parse_reward_spec,
    read_reward_funcs,
    read_reward_weights,
)


@pytest.mark.parametrize(
    ("written", "specs"),
    [
        (["exact_match", {"regex": "a{1,2}"}], ("exact_match", "regex: a{1,2}")),
        ("exact_match,format", ("exact_match", "format")),
        ("regex: a{1,2}", ("regex: a{1,2}",)),
        ({"fullmatch": "yes|no"}, ("fullmatch: yes|no",)),
        (None, ()),
        ("none", ()),
    ],
)
def test_a_list_a_text_and_a_mapping_are_specs(written, specs) -> None:
    assert read_reward_funcs(written) == specs


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="names no reward"):
        read_reward_funcs([{"regex": "a", "weight": 2}])


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("format", RewardSpec("format")),
        ("regex: ^a: b$", RewardSpec("regex", "^a: b$")),
        ("rewards.py:score", RewardSpec("function", "rewards.py:score")),
        ("my/own rewards.py:score", RewardSpec("function", "my/own rewards.py:score")),
        ("package.module:score", RewardSpec("function", "package.module:score")),
    ],
)
def test_a_spec_says_its_kind_and_argument(spec: str, parsed: RewardSpec) -> None:
    assert parse_reward_spec(spec) == parsed


def test_wrong_specs_are_each_named() -> None:
    wrong = list(find_wrong_specs(["exactmatch", "regex:", "regex: (", "format"]))
    assert [message.partition(" ")[0] for message in wrong] == ["'exactmatch'", "regex:", "regex:"]
    assert "no regular expression" in wrong[2]


@pytest.mark.parametrize(("written", "weights"), [("1,0.5", ("1", "0.5")), (2, (2,)), ([1, 2], [1, 2]), (None, ())])
def test_weights_come_as_text_or_list(written, weights) -> None:
    assert read_reward_weights(written) == weights
