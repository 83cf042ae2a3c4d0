"""How long examples are: a histogram that stays small whatever the number of rows, and its percentiles.

Knows nothing of rows, only of numbers of tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_EXACT_TO = 128
"""Lengths below are counted one by one; every octave above has half as many bins, so a bin is at most 1.6 % wide."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Examples of `least` to `most` tokens, both included."""

    least: int
    most: int
    rows: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Percentiles in tokens, at most 1.6 % too high, never above `longest`, and the bars of a histogram."""

    p50: int
    p95: int
    p99: int
    longest: int
    bars: tuple[Bar, ...]


class LengthCounter:
    """Counts examples by their length; `counts` maps the first length of a bin to its examples."""

    def __init__(self, counts: Mapping[int, int] | None = None, *, longest: int = 0) -> None:
        self.counts = Counter(counts or {})
        self.longest = longest

    def add(self, num_tokens: int) -> None:
        """One more example of this length."""
        self.counts[_bin_start(num_tokens)] += 1
        self.longest = max(self.longest, num_tokens)

    def lengths(self) -> Lengths:
        """What is known now; zeros and no bars where nothing was added."""
        p50, p95, p99 = (self._percentile(share) for share in (0.5, 0.95, 0.99))
        return Lengths(p50, p95, p99, self.longest, tuple(self._bars()))

    def _percentile(self, share: float) -> int:
        """The length that `share` of the examples do not exceed."""
        least, passed = share * self.counts.total(), 0
        for start in sorted(self.counts):
            passed += self.counts[start]
            if passed >= least:
                return min(_bin_end(start), self.longest)
        return 0

    def _bars(self) -> list[Bar]:
        """Two bars an octave, from the octave of the shortest example to that of the longest."""
        if not self.counts:
            return []
        edges = _edges(min(self.counts), self.longest)
        starts = sorted(self.counts)
        return [Bar(least, end - 1, self._between(starts, least, end)) for least, end in pairwise(edges)]

    def _between(self, starts: Sequence[int], least: int, end: int) -> int:
        return sum(self.counts[start] for start in starts if least <= start < end)


def _edges(shortest: int, longest: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, …: the edges that hold both lengths between them."""
    edges = [edge for power in range(longest.bit_length() + 1) for edge in (2**power, 3 * 2**power // 2)]
    edges = sorted({0, *edges})
    first = max(index for index, edge in enumerate(edges) if edge <= shortest)
    last = min(index for index, edge in enumerate(edges) if edge > longest)
    return edges[first : last + 1]


def _width(length: int) -> int:
    return 1 if length < _EXACT_TO else 2 ** (length.bit_length() - _EXACT_TO.bit_length() + 1)


def _bin_start(length: int) -> int:
    return length - length % _width(length)


def _bin_end(start: int) -> int:
    return start + _width(start) - 1
