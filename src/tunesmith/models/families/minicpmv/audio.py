"""The ear of MiniCPM-o: a Whisper encoder that sees a second at a time, a projector, and pooling to tokens.

A clip is heard as the published model hears it alone, whatever it is batched or packed with; there, a clip also attends
to the padding that longer clips of its call bring. Two traits of the published code are kept on purpose, because the
weights have been used with them:

- the pieces of one clip are as long as its longest piece, so the last piece of a long clip is followed by silence;
- a frame attends to frames up to the end of its own chunk, and of that silence to as many frames as the piece has
  *mel* frames (the published mask compares frames at 50/s with a length at 100/s).

Knows nothing of ids or placeholders.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tunesmith.models.families.minicpmv.audio_features import FRAMES_PER_S, num_tokens_of


class SoundTower(WhisperEncoder):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Whisper's encoder under its own names, for sound of any length up to its positions.

    FlashAttention knows no mask of chunks, so SDPA stands in for it here, as in the published model. Layers are never
    dropped in training.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        attention = copy.deepcopy(config)
        attention._attn_implementation = "eager" if config._attn_implementation == "eager" else "sdpa"
        layers: Any = self.layers
        for layer in layers:
            layer.self_attn.config = attention

    def forward(self, features: Tensor, feature_lens: Tensor, clip_lens: Tensor, *, chunk_frames: int) -> Tensor:
        """(C, T, d_model) hidden states of the pieces, T = half of the longest clip length.

        features:     (C, num_mel_bins, at least the longest clip length), 0 behind the end of each piece
        feature_lens: (C,) mel frames of each piece
        clip_lens:    (C,) mel frames of the longest piece of the piece's clip
        chunk_frames: encoder frames that see each other and all before them; 0 lets every frame see all
        """
        longest = int(clip_lens.max())
        features = features[..., :longest].to(self.conv1.weight.dtype)
        heard = torch.arange(longest, device=features.device) < clip_lens[:, None]
        hidden = functional.gelu(self.conv1(features)) * heard[:, None]
        hidden = functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.embed_positions(torch.arange(hidden.shape[1], device=hidden.device))
        hidden = functional.dropout(hidden, p=self.dropout, training=self.training)
        seen = chunk_mask(feature_lens, clip_lens, num_frames=hidden.shape[1], chunk_frames=chunk_frames)
        mask = torch.zeros(seen.shape, dtype=hidden.dtype, device=seen.device).masked_fill(~seen, float("-inf"))
        for layer in self.layers:
            hidden = layer(hidden, mask)
        states: Tensor = self.layer_norm(hidden)
        return states


class SoundProjector(nn.Module):
    """From the encoder's states into the language model: Linear, ReLU, Linear."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_features, out_features)
        self.relu = nn.ReLU()
        self.linear2 = nn.Linear(out_features, out_features)

    def forward(self, states: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        projected: Tensor = self.linear2(self.relu(self.linear1(states)))
        return projected


def chunk_mask(feature_lens: Tensor, clip_lens: Tensor, *, num_frames: int, chunk_frames: int) -> Tensor:
    """(C, 1, T, T) bool: which frame (third axis) sees which (last), see the module's docstring and `SoundTower`."""
    frames = torch.arange(num_frames, device=feature_lens.device)
    reach = torch.minimum(feature_lens, (clip_lens + 1) // 2)
    by_length = (frames < reach[:, None])[:, None, None, :]
    if chunk_frames <= 0:
        return by_length.expand(-1, 1, num_frames, -1)
    chunk_ends = (frames // chunk_frames + 1) * chunk_frames
    return by_length & (frames < chunk_ends[:, None])


def pool_to_tokens(embeddings: Tensor, feature_lens: Tensor, *, pool_step: int) -> Tensor:
    """(N, hidden): means of `pool_step` frames each of (C, T, hidden), the pieces' tokens behind each other."""
    pooled = functional.avg_pool1d(embeddings.transpose(1, 2), pool_step).transpose(1, 2)
    num_tokens = num_tokens_of(feature_lens, pool_step=pool_step)
    kept = torch.arange(pooled.shape[1], device=pooled.device) < num_tokens[:, None]
    return pooled[kept]


def longest_pieces(feature_lens: Tensor, clip_sizes: Tensor) -> Tensor:
    """(C,) the largest of `feature_lens` among the pieces of the same clip; `clip_sizes` (A,) pieces of each clip."""
    clips = torch.repeat_interleave(torch.arange(len(clip_sizes), device=clip_sizes.device), clip_sizes)
    largest = feature_lens.new_zeros(len(clip_sizes)).scatter_reduce(0, clips, feature_lens, "amax")
    return largest[clips]


def chunk_frames_of(chunk_length_s: float) -> int:
    """Encoder frames of `audio_chunk_length` seconds; 0 for the published -1, which means no chunks."""
    return max(int(chunk_length_s * FRAMES_PER_S), 0)
