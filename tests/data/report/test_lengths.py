"""The histogram of lengths and its percentiles, against all lengths at hand."""

from __future__ import annotations

import numpy as np

from tunesmith.data.report.lengths import Bar, LengthCounter


def count(lengths: list[int]) -> LengthCounter:
    counter = LengthCounter()
    for length in lengths:
        counter.add(length)
    return counter


def test_percentiles_are_at_most_a_sixtieth_too_high() -> None:
    lengths = np.random.default_rng(0).lognormal(6, 1, 5000).astype(int).clip(1, 8192).tolist()
    found = count(lengths).lengths()
    for share, value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = float(np.percentile(lengths, share, method="inverted_cdf"))
        assert exact <= value <= exact * (1 + 1 / 60)
    assert found.longest == max(lengths)


def test_short_lengths_are_exact() -> None:
    found = count([*range(1, 101)]).lengths()
    assert (found.p50, found.p95, found.p99, found.longest) == (50, 95, 99, 100)


def test_bars_hold_every_row_two_an_octave() -> None:
    found = count([5, 6, 7, 8, 11, 12, 40]).lengths()
    assert [bar for bar in found.bars if bar.rows] == [
        Bar(4, 5, 1),
        Bar(6, 7, 2),
        Bar(8, 11, 2),
        Bar(12, 15, 1),
        Bar(32, 47, 1),
    ]
    assert [bar.least for bar in found.bars] == [4, 6, 8, 12, 16, 24, 32]


def test_memory_is_bounded_by_the_octaves() -> None:
    counter = count([*range(1, 131_072, 7)])
    assert len(counter.counts) < 128 + 64 * 11
    assert counter.counts.total() == len(range(1, 131_072, 7))
