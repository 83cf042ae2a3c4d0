"""Several datasets in one epoch come in the turns that `datasets.interleave_datasets` gives them."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
from datasets import Dataset, interleave_datasets

from tunesmith.config.data import DataSettings
from tunesmith.data.feed.mixing import Mix, interleave, mix_turns, read_mix
from tunesmith.errors import UsageError

PEER_NAMES = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}
SIZES = [30, 45, 12]


def mixed(sizes: list[int], mix: Mix, *, seed: int = 7) -> list[int]:
    """Rows numbered through all datasets, each dataset in its own order, pass after pass."""
    turns = mix_turns(sizes, mix, random=np.random.default_rng(seed))
    rows: list[int] = interleave(sizes, turns, lambda dataset, _: np.arange(sizes[dataset])).tolist()
    return rows


def by_the_peer(sizes: list[int], strategy: str, shares: tuple[float, ...] | None, *, seed: int = 7) -> list[int]:
    starts = accumulate(sizes, initial=0)
    rows = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    parts = [Dataset.from_dict({"row": part}) for part in rows]
    probabilities = None if shares is None else list(shares)
    return list(interleave_datasets(parts, probabilities, seed, stopping_strategy=PEER_NAMES[strategy])["row"])


@pytest.mark.parametrize("strategy", PEER_NAMES)
@pytest.mark.parametrize("sizes", [SIZES, [5, 5], [1, 9, 4], [3]])
def test_datasets_take_turns_as_the_peer_has_them(strategy: str, sizes: list[int]) -> None:
    assert mixed(sizes, Mix(strategy)) == by_the_peer(sizes, strategy, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["interleave_under", "interleave_over"])
@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.1, 0.1, 0.8)])
def test_draws_by_shares_are_the_peers_bit_for_bit(strategy: str, shares: tuple[float, ...]) -> None:
    assert mixed(SIZES, Mix(strategy, shares)) == by_the_peer(SIZES, strategy, shares)  # type: ignore[arg-type]


def test_once_with_shares_gives_every_row_once() -> None:
    rows = mixed([300, 30, 3], Mix("interleave_once", (0.2, 0.4, 0.4)))
    assert sorted(rows) == list(range(333))
    early = Counter("rare" if row >= 300 else "many" for row in rows[:30])
    assert early["rare"] > early["many"]
    assert set(rows[-200:]) <= set(range(300))


def test_over_repeats_a_small_dataset_in_passes() -> None:
    rows = np.array(mixed([100, 4], Mix("interleave_over", (0.5, 0.5))))
    small = rows[rows >= 100]
    assert set(rows[rows < 100]) == set(range(100))
    assert small[:8].tolist() == [100, 101, 102, 103] * 2


def test_millions_of_draws_keep_to_the_shares() -> None:
    turns = mix_turns([3_000_000, 2_000_000], Mix("interleave_under", (0.75, 0.25)), random=np.random.default_rng(0))
    assert 3_000_000 <= len(turns) < 4_010_000
    assert abs(np.bincount(turns)[1] / len(turns) - 0.25) < 0.001


def test_a_dataset_without_rows_is_left_out() -> None:
    assert mixed([3, 0, 3], Mix("interleave_under")) == [0, 3, 1, 4, 2, 5]
    assert mixed([0, 2], Mix("interleave_over", (0.5, 0.5))) == [0, 1]
    assert mixed([0, 0], Mix("interleave_once")) == []


def test_passes_are_permuted_one_by_one() -> None:
    asked: list[tuple[int, int]] = []

    def permute(dataset: int, number: int) -> np.ndarray:
        asked.append((dataset, number))
        return np.array([1, 0]) if number else np.array([0, 1])

    assert interleave([2, 2], np.array([0, 0, 0, 1, 0]), permute).tolist() == [0, 1, 1, 2, 0]
    assert asked == [(0, 0), (0, 1), (1, 0)]


def test_shares_are_read_and_made_to_sum_to_one() -> None:
    data = DataSettings(dataset="a,b", mix_strategy="interleave_over", interleave_probs="3,1")
    assert read_mix(data) == Mix("interleave_over", (0.75, 0.25))
    assert read_mix(DataSettings(dataset="a,b")) == Mix("concat", None)


@pytest.mark.parametrize("words", ["0.5", "0.5,half", "1,0", "1,inf", "1,-1", "0.2,0.3,0.5"])
def test_shares_that_do_not_fit_are_refused(words: str) -> None:
    data = DataSettings(dataset="a,b", mix_strategy="interleave_over", interleave_probs=words)
    with pytest.raises(UsageError, match=f"interleave_probs is {words}; expected 2 numbers above 0"):
        read_mix(data)
