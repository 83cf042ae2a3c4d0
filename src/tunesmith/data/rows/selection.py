"""Which rows of a dataset are used: all of them, a random draw (`num_samples`), the first few (`max_samples`).

Knows numbers of rows only.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Used rows, numbered from 0, of files that follow one another.

    starts: rows before each file, and the number of all rows at the end
    drawn:  numbers of the used rows among all; None where they are simply the first
    """

    starts: tuple[int, ...]
    num_rows: int
    drawn: NDArray[np.int64] | None = None

    def locate(self, index: int) -> tuple[int, int]:
        """(file, row in it) of the used row `index`. Raises IndexError."""
        if not 0 <= index < self.num_rows:
            raise IndexError(f"row {index} of {self.num_rows}")
        row = index if self.drawn is None else int(self.drawn[index])
        file = bisect_right(self.starts, row) - 1
        return file, row - self.starts[file]


def select_rows(
    counts: Sequence[int], *, name: str, num_samples: int | None, max_samples: int | None, seed: int
) -> Selection:
    """The used rows of files with `counts` rows: `num_samples` drawn at random, of those the first `max_samples`.

    A draw takes all rows before any comes again (as LLaMA-Factory), and depends on the dataset's name and `seed` alone.
    """
    starts = tuple(accumulate(counts, initial=0))
    total = starts[-1]
    if num_samples is None or total == 0:
        return Selection(starts, min(total, total if max_samples is None else max_samples))
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    chosen = random.permutation(total)[:num_samples]
    extra = random.integers(0, total, num_samples - len(chosen))
    drawn = np.concatenate((chosen, extra))[:max_samples]
    return Selection(starts, len(drawn), drawn)
