"""Character spans: where they lie after text was inserted, and which tokens they cover.

A span is (start, end) in characters; spans of one kind are in order and apart from one another. Knows nothing of
templates or tokenizers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

Span = tuple[int, int]


def shift_spans(spans: Sequence[Span], *, replaced: Sequence[Span], texts: Sequence[str]) -> tuple[Span, ...]:
    """Where `spans` lie once each of `replaced` (in order, apart from one another) is replaced by its text.

    A replaced span lies wholly inside or wholly outside every one of `spans`.
    """
    ends = [end for _, end in replaced]
    growth = [len(text) - (end - start) for (start, end), text in zip(replaced, texts, strict=True)]
    total = [0, *accumulate(growth)]
    return tuple(
        (start + total[bisect_right(ends, start)], end + total[bisect_right(ends, end)]) for start, end in spans
    )


def tokens_in(offsets: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """(T,) bool: the tokens that share at least one character with one of `spans`.

    offsets: (T, 2), start and end of each token.
    """
    if not spans or not len(offsets):
        return np.zeros(len(offsets), dtype=bool)
    edges = np.asarray(spans, dtype=np.int64)
    starts, ends = offsets[:, 0], offsets[:, 1]
    nearest = np.searchsorted(edges[:, 0], ends, side="left") - 1  # the last span that begins before the token's end
    inside: np.ndarray = (nearest >= 0) & (edges[nearest, 1] > starts) & (starts < ends)
    return inside


def overlaps(span: Span, spans: Sequence[Span]) -> bool:
    """Whether `span` shares a character with one of `spans`."""
    return bool(tokens_in(np.array([span]), spans)[0])


def runs_of(mask: np.ndarray) -> list[Span]:
    """The maximal runs of True in `mask` (T,), as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
