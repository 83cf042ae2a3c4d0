"""The resampler: a fixed number of learned queries look at the patches of a slice, or of a group of video frames.

2-D as in MiniCPM-V 2.6 (sin-cos positions of column and row on the keys); 3-D as in 4.5, where the keys of a frame also
carry its time and a group of frames is looked at together. Parameters are named as published. Nothing is padded and
nothing remembered: the position tables are as small as the largest slice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from tunesmith.models.families.minicpmv.slices import count_within, inverse, repeat, sort_by_length

_NORM_EPS = 1e-6
_BASE = 10000
"""Of the sin-cos positions (arXiv 1706.03762 §3.5)."""


class QueryAttention(nn.Module):
    """Multi-head attention with the parameters of torch's own, but `out_proj` called as a module, as LoRA needs it."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int]) -> Tensor:
        """queries (Q, E) at each of the groups that lie end to end, `lengths` long, in keys and values (P, E).

        Returns (G, Q, E).
        """
        projected = zip((queries, keys, values), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        queries, keys, values = (
            functional.linear(states, weight, bias).view(len(states), self.num_heads, -1)
            for states, weight, bias in projected
        )
        attended: Tensor = self.out_proj(_attend(queries, keys, values, lengths))
        return attended


def _attend(queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int]) -> Tensor:
    """(Q, H, d) at groups in (P, H, d), one call for all groups of a length -> (G, Q, H * d)."""
    runs = sort_by_length(lengths, keys.device)
    if len(runs.counts) > 1:
        keys, values = keys[runs.gather], values[runs.gather]
    outputs, start = [], 0
    for count, length in runs.counts:
        piece = slice(start, start + count * length)
        split = (count, length, *keys.shape[1:])
        looking = queries.transpose(0, 1).expand(count, -1, -1, -1)
        at, taking = (states[piece].view(split).transpose(1, 2) for states in (keys, values))
        outputs.append(functional.scaled_dot_product_attention(looking, at, taking).transpose(1, 2).flatten(2))
        start = piece.stop
    return torch.cat(outputs)[inverse(runs.order)]


class Resampler(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Patches of slices in, `num_queries` tokens a group of slices out."""

    def __init__(self, *, num_queries: int, width: int, num_heads: int, patch_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(num_queries, width))
        self.kv_proj = nn.Identity() if patch_width == width else nn.Linear(patch_width, width, bias=False)
        self.attn = QueryAttention(width, num_heads)
        self.ln_q = nn.LayerNorm(width, eps=_NORM_EPS)
        self.ln_kv = nn.LayerNorm(width, eps=_NORM_EPS)
        self.ln_post = nn.LayerNorm(width, eps=_NORM_EPS)
        self.proj = nn.Parameter(torch.empty(width, width))

    def forward(
        self,
        patches: Tensor,
        sizes: list[list[int]],
        group_sizes: list[int] | None = None,
        temporal_ids: list[int] | None = None,
    ) -> Tensor:
        """patches (P, D) of slices of these sizes (patches high, wide) -> (G, Q, E).

        group_sizes:  how many consecutive slices each group has; None: each slice is one
        temporal_ids: the time of each slice, -1 for a still; None: all are stills
        """
        values = self.ln_kv(self.kv_proj(patches))
        counts = [high * wide for high, wide in sizes]
        keys = values + _places(sizes, self.query.shape[1], values)
        if temporal_ids is not None and any(time >= 0 for time in temporal_ids):
            times = _times(temporal_ids, self.query.shape[1], values)
            keys = keys + repeat(times, torch.tensor(counts, device=values.device), sum(counts))
        looked = self.attn(self.ln_q(self.query), keys, values, _group_lengths(counts, group_sizes))
        tokens: Tensor = self.ln_post(looked) @ self.proj
        return tokens


def _group_lengths(counts: list[int], group_sizes: list[int] | None) -> list[int]:
    if group_sizes is None:
        return counts
    ends = np.cumsum(group_sizes)
    return [sum(counts[end - size : end]) for end, size in zip(ends, group_sizes, strict=True)]


def _places(sizes: list[list[int]], width: int, like: Tensor) -> Tensor:
    """(P, width) positions of the patches of slices, row by row: half the width for the column, half for the row."""
    high, wide = torch.tensor(sizes, device=like.device).unbind(1)
    total = len(like)
    within, wide = count_within(high * wide, total), repeat(wide, high * wide, total)
    table = _sincos(torch.arange(max(map(max, sizes)), device=like.device), width // 2).to(like.dtype)
    return torch.cat([table[within % wide], table[within // wide]], dim=-1)


def _times(temporal_ids: list[int], width: int, like: Tensor) -> Tensor:
    """(S, width) positions in time, zero for stills."""
    ids = torch.tensor(temporal_ids, device=like.device)
    times = _sincos(ids, width).to(like.dtype)
    return torch.where(ids[:, None] >= 0, times, torch.zeros_like(times))


def _sincos(positions: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width) float32: sines, then cosines, of each position at width / 2 frequencies."""
    frequencies = 1.0 / _BASE ** (np.arange(width // 2, dtype=np.float32) / np.float32(width / 2))
    angles = positions.float()[:, None] * torch.from_numpy(frequencies.astype(np.float32)).to(positions.device)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
