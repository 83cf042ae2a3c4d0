"""The samples of a batch in two parts. Knows nothing of why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tunesmith.data.encoding.encoded import Encoded

Samples = Sequence[Encoded]


def halves(samples: Samples) -> tuple[Samples, Samples] | None:
    """The first and the other samples, cut where the tokens of both differ least; None where there are no two samples.

    The answers of one row are one sample, and stay together.
    """
    if len(samples) < 2:
        return None
    ends = list(accumulate(len(sample) for sample in samples))
    cut = min(range(1, len(samples)), key=lambda number: abs(ends[-1] - 2 * ends[number - 1]))
    return samples[:cut], samples[cut:]
