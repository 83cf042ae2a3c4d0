"""Several datasets in one epoch: whose row comes next, until when.

The strategies are those of `datasets.interleave_datasets`: interleave_under is first_exhausted, interleave_over
all_exhausted, interleave_once all_exhausted_without_replacement. Everything here is a function of sizes and a random
generator; knows no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunesmith.config.data import DataSettings
from tunesmith.errors import UsageError

Strategy = Literal["concat", "interleave_under", "interleave_over", "interleave_once"]

_DRAWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Mix:
    """A strategy, and how often each dataset is drawn; without `shares` they take turns."""

    strategy: Strategy = "concat"
    shares: tuple[float, ...] | None = None


def read_mix(data: DataSettings) -> Mix:
    """mix_strategy and interleave_probs, made to sum to 1. Raises UsageError where they do not fit the datasets."""
    if not data.interleave_probs:
        return Mix(data.mix_strategy)
    try:
        given = [float(word) for word in data.interleave_probs]
    except ValueError:
        given = []
    if len(given) != len(data.dataset) or not all(0 < share < float("inf") for share in given):
        raise UsageError(
            f"interleave_probs is {','.join(data.interleave_probs)}; expected {len(data.dataset)} numbers above 0, "
            "one for each dataset"
        )
    return Mix(data.mix_strategy, tuple(share / sum(given) for share in given))


def mix_turns(sizes: Sequence[int], mix: Mix, *, random: np.random.Generator) -> np.ndarray:
    """(n,) uint16: which dataset gives each row of an epoch, for datasets of `sizes` rows interleaved by `mix`.

    A dataset without rows is left out. Raises UsageError for the strategy concat, which has no turns.
    """
    if mix.strategy == "concat":
        raise UsageError("mix_strategy concat has no turns; it is one permutation of all rows")
    present = np.flatnonzero(np.asarray(sizes)).astype(np.uint16)
    counts = np.asarray(sizes, dtype=np.int64)[present]
    if not len(present):
        return present
    if mix.shares is None:
        turns = _take_turns(counts, mix.strategy)
    else:
        turns = _draw_turns(counts, np.asarray(mix.shares)[present], mix.strategy, random)
    mixed: np.ndarray = present[turns]
    return mixed


def interleave(sizes: Sequence[int], turns: np.ndarray, permute: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """(n,) row numbers in the concatenation of all datasets, uint32 where they fit.

    `permute(dataset, pass_number)` is a permutation of that dataset's rows; a dataset whose rows are used up goes
    through them again in the order of the next pass.
    """
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.empty(len(turns), dtype=number_type(int(offsets[-1])))
    for dataset, size in enumerate(sizes):
        mine = np.flatnonzero(turns == dataset)
        if len(mine):
            passes = [permute(dataset, number) for number in range(-(-len(mine) // size))]
            rows[mine] = np.concatenate(passes)[: len(mine)] + offsets[dataset]
    return rows


def number_type(count: int) -> type[np.unsignedinteger]:
    """The smallest of uint32 and uint64 that numbers `count` things."""
    return np.uint32 if count <= 2**32 else np.uint64


def _take_turns(sizes: np.ndarray, strategy: Strategy) -> np.ndarray:
    """One row of each in turn; interleave_once goes on with those that have rows left."""
    everyone = np.arange(len(sizes))
    if strategy == "interleave_under":
        return np.tile(everyone, sizes.min())
    if strategy == "interleave_over":
        return np.tile(everyone, sizes.max())
    ends = np.unique(sizes)
    starts = np.concatenate([[0], ends[:-1]])
    return np.concatenate(
        [np.tile(everyone[sizes > start], end - start) for start, end in zip(starts, ends, strict=True)]
    )


def _draw_turns(sizes: np.ndarray, shares: np.ndarray, strategy: Strategy, random: np.random.Generator) -> np.ndarray:
    """Drawn by `shares`; interleave_once goes on with those that have rows left, their shares in proportion."""
    if strategy == "interleave_under":
        return _draw_until(sizes, shares, random, everyone=False)
    if strategy == "interleave_over":
        return _draw_until(sizes, shares, random, everyone=True)
    parts, left = [], sizes.copy()
    while (alive := np.flatnonzero(left)).size:
        part = alive[_draw_until(left[alive], shares[alive], random, everyone=False)]
        left -= np.bincount(part, minlength=len(left))
        parts.append(part)
    return np.concatenate(parts)


def _draw_until(sizes: np.ndarray, shares: np.ndarray, random: np.random.Generator, *, everyone: bool) -> np.ndarray:
    """Draws until one dataset (or `everyone`) was drawn as often as it has rows, that draw included."""
    bounds = np.cumsum(shares / shares.sum())
    bounds[-1] = 1.0
    drawn: list[np.ndarray] = []
    left = sizes.copy()
    while True:
        part = bounds.searchsorted(random.random(_DRAWS_AT_ONCE), side="right")
        ends = np.array([_find_end(part, number, count) for number, count in enumerate(left)])
        end = ends.max() if everyone else ends.min()
        drawn.append(part[:end])
        if end <= len(part):
            return np.concatenate(drawn)
        left = np.maximum(left - np.bincount(part, minlength=len(left)), 0)


def _find_end(part: np.ndarray, number: int, count: int) -> int:
    """Draws until `number` was drawn `count` times; one more than there are where it was not."""
    if count <= 0:
        return 0
    places = np.flatnonzero(part == number)
    return int(places[count - 1]) + 1 if len(places) >= count else len(part) + 1
