"""Pixels of pictures and frames as the model takes them: flat patches, and which of them belong together.

Knows nothing of files, text or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STILL = -1
"""The temporal id of a slice that is not from a video."""


@dataclass(frozen=True, slots=True)
class VisualInputs:
    """One picture or video, or several behind each other.

    patches:      (P, 3, patch, patch) float32, of every slice row by row, slices in order
    tgt_sizes:    (S, 2) int64, patches high and wide of each slice; a video's frame is a slice of its own
    temporal_ids: (S,) int64, when a frame was taken, in units of the video's time scale; STILL for a picture
    group_sizes:  (G,) int64, how many slices in a row share one run of tokens; 1 for pictures
    """

    patches: Tensor
    tgt_sizes: Tensor
    temporal_ids: Tensor
    group_sizes: Tensor


def stills(patches: Tensor, tgt_sizes: Tensor) -> VisualInputs:
    """Slices of pictures, each with a run of its own."""
    num_slices = len(tgt_sizes)
    return VisualInputs(
        patches,
        tgt_sizes,
        temporal_ids=torch.full((num_slices,), STILL, dtype=torch.int64),
        group_sizes=torch.ones(num_slices, dtype=torch.int64),
    )


def join_visuals(parts: Sequence[VisualInputs]) -> VisualInputs:
    """All `parts`, at least one, behind each other."""
    if len(parts) == 1:
        return parts[0]
    return VisualInputs(
        patches=torch.cat([part.patches for part in parts]),
        tgt_sizes=torch.cat([part.tgt_sizes for part in parts]),
        temporal_ids=torch.cat([part.temporal_ids for part in parts]),
        group_sizes=torch.cat([part.group_sizes for part in parts]),
    )
