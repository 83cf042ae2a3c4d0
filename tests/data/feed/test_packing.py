"""Packs are as full as best-fit-decreasing makes them, and hold whole examples."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.data.feed.packing import pack_best_fit


@pytest.mark.parametrize("seed", range(30))
def test_packs_keep_to_their_capacity_and_lose_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    capacity = int(random.integers(1, 300))
    lengths = [int(length) for length in random.integers(1, 400, random.integers(0, 400))]
    packs = pack_best_fit(lengths, capacity=capacity)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    for pack in packs:
        assert sum(lengths[index] for index in pack) <= capacity or len(pack) == 1


def test_each_example_goes_where_it_fits_best() -> None:
    #        10 → alone · 7+3 · 6+4 · 5
    assert pack_best_fit([7, 10, 6, 5, 4, 3], capacity=10) == [[0, 5], [1], [2, 4], [3]]


def test_among_equals_the_earlier_comes_first() -> None:
    assert pack_best_fit([6, 6, 4, 4, 4], capacity=10) == [[0, 2], [1, 3], [4]]


def test_nothing_makes_no_pack() -> None:
    assert pack_best_fit([], capacity=10) == []


@pytest.mark.parametrize(("median", "least"), [(200, 0.990), (700, 0.995), (1800, 0.990)])
def test_windows_of_log_normal_lengths_are_filled_to_99_percent(median: int, least: float) -> None:
    lengths = np.minimum(np.random.default_rng(0).lognormal(np.log(median), 0.8, 4096).astype(int) + 1, 4096).tolist()
    assert sum(lengths) / (4096 * len(pack_best_fit(lengths, capacity=4096))) > least
