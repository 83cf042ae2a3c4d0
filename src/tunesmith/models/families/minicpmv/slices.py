"""Pieces of different lengths in one long sequence, grouped so that equal ones are computed together.

Images are cut into slices of a few sizes and all frames of a video have one, so a handful of batched calls do the work
of hundreds, and nothing is padded. Knows nothing of what the pieces hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EqualRuns:
    """Pieces sorted by length.

    counts: (number of pieces, their length), by rising length
    order:  (S,) which piece comes where: order[0] is the number of the piece that comes first
    gather: (P,) for each place of the sorted sequence its place in the given one
    """

    counts: tuple[tuple[int, int], ...]
    order: Tensor
    gather: Tensor


def sort_by_length(lengths: Sequence[int], device: torch.device) -> EqualRuns:
    """The order in which pieces of these lengths, end to end, become runs of equal ones."""
    sizes = torch.tensor(lengths, dtype=torch.int64, device=device)
    order = torch.argsort(sizes, stable=True)
    starts = (sizes.cumsum(0) - sizes)[order]
    gather = repeat(starts, sizes[order], sum(lengths)) + count_within(sizes[order], sum(lengths))
    counts = tuple((count, length) for length, count in sorted(Counter(lengths).items()))
    return EqualRuns(counts, order, gather)


def count_within(sizes: Tensor, total: int) -> Tensor:
    """(total,) 0, 1, … for each of the pieces of these sizes (S,), end to end; `total` is their sum."""
    return torch.arange(total, device=sizes.device) - repeat(sizes.cumsum(0) - sizes, sizes, total)


def repeat(values: Tensor, sizes: Tensor, total: int) -> Tensor:
    """(S, …) values as often as `sizes` (S,) says; `total`, their sum, spares a GPU from being asked for it."""
    return torch.repeat_interleave(values, sizes, 0, output_size=total)


def inverse(order: Tensor) -> Tensor:
    """The permutation that undoes `order`."""
    undone = torch.empty_like(order)
    undone[order] = torch.arange(len(order), device=order.device)
    return undone
