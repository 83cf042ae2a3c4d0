"""Micro-batches hold whole samples, each once, within their size, whatever the lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.feed.grouping import (
    Group,
    GroupByLength,
    GroupByTokens,
    Grouper,
    GroupExamples,
    GroupPacks,
    WindowSize,
    build_grouper,
    count_micro_batches,
)

GROUPERS: list[Grouper] = [
    GroupExamples(3),
    GroupByLength(3),
    GroupByTokens(500),
    GroupByTokens(500, by_length=True),
    GroupByTokens(500, padded=True),
    GroupPacks(500, 2),
]


def random_lengths(seed: int, count: int) -> list[int]:
    """As lengths of text are: log-normal; some longer than any budget here."""
    lengths = np.random.default_rng(seed).lognormal(4.5, 1.0, count).astype(int) + 1
    return [int(length) for length in lengths]


def windows(lengths: Sequence[int], grouper: Grouper) -> Iterator[list[int]]:
    """The lengths of each window of a run's first epoch."""
    window: list[int] = []
    is_first = True
    for length in lengths:
        window.append(length)
        if grouper.is_complete(WindowSize(len(window), len(window), sum(window), is_first)):
            yield window
            window, is_first = [], False
    if window:
        yield window


def tokens_of(group: Group, lengths: Sequence[int]) -> int:
    return sum(lengths[index] for index in group)


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
@pytest.mark.parametrize("seed", range(20))
def test_every_example_is_in_exactly_one_micro_batch(grouper: Grouper, seed: int) -> None:
    lengths = random_lengths(seed, 37 * seed)
    for random in (None, np.random.default_rng(seed)):
        groups = grouper.group(lengths, random=random)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        assert all(groups)


@pytest.mark.parametrize("grouper", GROUPERS, ids=str)
def test_micro_batches_can_be_counted_without_being_made(grouper: Grouper) -> None:
    lengths = random_lengths(3, 5000)
    made = [grouper.group(window, random=np.random.default_rng(0)) for window in windows(lengths, grouper)]
    rows = [(length,) for length in lengths]
    assert count_micro_batches(rows, grouper, is_first_epoch=True) == sum(map(len, made))


def test_rows_left_out_leave_no_gap() -> None:
    grouper = GroupExamples(4)
    rows = [(5,), (), (5,), (), (), (5,), (5,), (5,), ()]
    assert count_micro_batches(rows, grouper, is_first_epoch=True) == 2
    assert count_micro_batches([(), ()], grouper, is_first_epoch=True) == 0


def test_a_window_goes_on_until_its_last_micro_batch_is_full() -> None:
    grouper = GroupExamples(4)
    assert count_micro_batches([(9,) * 5, (9,) * 2, (9,)], grouper, is_first_epoch=False) == 2
    assert [grouper.is_complete(WindowSize(1, samples, 9, False)) for samples in (3, 4, 5, 8)] == [
        False,
        True,
        False,
        True,
    ]
    assert grouper.is_complete(WindowSize(1, 4 + 16 * 4 + 1, 9, False))  # but not for ever
    assert [GroupByLength(2).is_complete(WindowSize(1, samples, 9, False)) for samples in (127, 128, 129)] == [
        False,
        True,
        False,
    ]


def test_windows_of_packing_count_the_pieces_of_long_documents() -> None:
    grouper = GroupPacks(1000, 4)
    assert not grouper.is_complete(WindowSize(1, 1000, 1_000_000, False))
    assert grouper.is_complete(WindowSize(1, 1024, 1_024_000, False))
    assert grouper.is_complete(WindowSize(1, 256, 256_000, True))


def test_examples_come_in_their_order() -> None:
    grouper = GroupExamples(2)
    assert [grouper.is_complete(WindowSize(9, examples, 9, False)) for examples in (1, 2)] == [False, True]
    assert grouper.group([9, 1, 5], random=np.random.default_rng(0)) == [(0, 1), (2,)]


def test_similar_lengths_stand_together_in_random_order() -> None:
    lengths = [10, 99, 11, 98, 50, 51]
    grouper = GroupByLength(2)
    assert grouper.group(lengths, random=None) == [(0, 2), (1, 3), (4, 5)]
    orders = {tuple(grouper.group(lengths, random=np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) == 6 and {frozenset(order) for order in orders} == {frozenset([(0, 2), (1, 3), (4, 5)])}


def test_length_groups_pad_far_less() -> None:
    lengths = random_lengths(0, 64 * 8)

    def padded(groups: Sequence[Group]) -> int:
        return sum(len(group) * max(lengths[index] for index in group) for group in groups)

    plain = padded(GroupExamples(8).group(lengths, random=None))
    assert sum(lengths) / padded(GroupByLength(8).group(lengths, random=None)) > 0.85 > 0.5 > sum(lengths) / plain


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_a_budget_of_tokens_is_kept_but_for_one_longer_example(by_length: bool, padded: bool) -> None:
    lengths = random_lengths(1, 600)
    grouper = GroupByTokens(400, by_length=by_length, padded=padded)
    for group in grouper.group(lengths, random=None):
        longest = max(lengths[index] for index in group)
        cost = longest * len(group) if padded else tokens_of(group, lengths)
        assert cost <= 400 or len(group) == 1


def test_a_budget_is_filled_in_the_order_of_the_rows() -> None:
    assert GroupByTokens(10).group([4, 6, 1, 9, 30, 2], random=None) == [(0, 1), (2, 3), (4,), (5,)]


def test_packs_make_micro_batches() -> None:
    groups = GroupPacks(10, size=2).group([9, 4, 6, 8, 1, 2, 30], random=None)
    assert groups == [(0, 4, 1, 2), (3, 5, 6)]


def test_windows_of_packing_are_about_a_thousand_rows() -> None:
    short, long = [20] * 30_000, [900] * 5000
    grouper = GroupPacks(1000, 4)
    assert [len(window) for window in windows(short, grouper)][:3] == [256, 3200, 3200]
    assert [len(window) for window in windows(long, grouper)][:3] == [256, 1024, 1024]
    assert [len(window) for window in windows([1] * 20_000, grouper)][:3] == [256, 8192, 8192]


def test_windows_of_length_groups_hold_whole_micro_batches() -> None:
    assert [len(window) for window in windows([9] * 800, GroupByLength(8))] == [256, 512, 32]
    assert [len(window) for window in windows([9] * 800, GroupByLength(1))] == [64] * 12 + [32]
    assert [len(window) for window in windows([9] * 2000, GroupByLength(300))] == [300, 1700]


@pytest.mark.parametrize(
    ("words", "packed", "grouper"),
    [
        ({}, True, GroupExamples(4)),
        ({"packing": True}, True, GroupPacks(64, 4)),
        ({"neat_packing": True}, True, GroupPacks(64, 4)),
        ({"packing": True}, False, GroupExamples(4)),
        ({"group_by_length": True}, True, GroupByLength(4)),
        ({"batch_tokens": 99}, True, GroupByTokens(99)),
        ({"batch_tokens": 99, "group_by_length": True}, False, GroupByTokens(99, by_length=True, padded=True)),
    ],
)
def test_settings_choose_the_grouper(words: dict[str, object], packed: bool, grouper: Grouper) -> None:
    data = DataSettings.model_validate({"cutoff_len": 64, **words})
    settings = Settings(data=data, training=TrainingSettings(per_device_train_batch_size=4))
    assert build_grouper(settings, packed=packed) == grouper


@pytest.mark.parametrize(
    ("words", "packed", "grouper"),
    [
        ({}, True, GroupPacks(64, 4)),
        ({}, False, GroupExamples(4)),
        ({"packing": False}, True, GroupExamples(4)),
        ({"group_by_length": True}, True, GroupByLength(4)),
        ({"batch_tokens": 99}, True, GroupByTokens(99)),
        ({"packing": True, "group_by_length": True}, True, GroupPacks(64, 4)),
    ],
)
def test_documents_are_packed_unless_something_else_is_asked(
    words: dict[str, object], packed: bool, grouper: Grouper
) -> None:
    data = DataSettings.model_validate({"cutoff_len": 64, **words})
    settings = Settings(data=data, training=TrainingSettings(stage="pt", per_device_train_batch_size=4))
    assert build_grouper(settings, packed=packed) == grouper
