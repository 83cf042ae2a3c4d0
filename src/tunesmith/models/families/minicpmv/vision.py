"""The SigLIP tower of MiniCPM-V (NaViT, arXiv 2307.06304): slices of any size, without padding.

The layers are transformers' own, under the published names; only which patches attend to each other differs, and the
positions: a patch's place in its slice, as a fraction, picks one of the learned positions of a square grid. Knows
nothing of images, slicing or text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipVisionConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.siglip.modeling_siglip import (
    SiglipAttention,
    SiglipEncoderLayer,
    SiglipPreTrainedModel,
    eager_attention_forward,
)

from tunesmith.models.families.minicpmv.slices import EqualRuns, inverse, sort_by_length


class PatchProjection(nn.Conv2d):
    """A convolution over pictures of one patch each, as the product it is: several times as fast, and a layer still."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(P, 3, side, side) -> (P, D, 1, 1)."""
        projected = functional.linear(pixel_values.flatten(1), self.weight.flatten(1), self.bias)
        return projected[..., None, None]


class PatchEmbeddings(nn.Module):
    """Patches and their positions as vectors."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        side: Any = config.patch_size
        whole: Any = config.image_size
        self.patch_embedding = PatchProjection(config.num_channels, config.hidden_size, kernel_size=side, stride=side)
        self.patches_per_side: int = whole // side
        self.position_embedding = nn.Embedding(self.patches_per_side**2, config.hidden_size)

    def forward(self, pixel_values: Tensor, sizes: list[list[int]]) -> Tensor:
        """pixel_values (P, 3, side, side) of slices of these sizes (patches high, wide) -> (P, D)."""
        patches: Tensor = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype)).flatten(1)
        positions: Tensor = self.position_embedding(self._positions(sizes).to(patches.device))
        return patches + positions

    def _positions(self, sizes: list[list[int]]) -> Tensor:
        return torch.cat([torch.from_numpy(_grid_positions(*size, self.patches_per_side)) for size in sizes])


@lru_cache(maxsize=1024)
def _grid_positions(num_high: int, num_wide: int, per_side: int) -> Any:
    """(num_high * num_wide,) numbers of learned positions, row by row.

    As an array: a tensor remembered from inference mode could not be trained with.
    """
    rows, columns = _nearest(num_high, per_side), _nearest(num_wide, per_side)
    return (rows[:, None] * per_side + columns).flatten().numpy()


def _nearest(num_patches: int, per_side: int) -> Tensor:
    """(num_patches,) which of `per_side` equal parts each patch begins in, in the float32 steps of the published code.

    Exact fractions would differ where a patch begins on the border of two parts.
    """
    with torch.device("cpu"):
        borders = torch.arange(1 / per_side, 1.0, 1 / per_side)
        step = (1 / torch.tensor(num_patches, dtype=torch.int32)).item()
        return torch.bucketize(torch.arange(0, 1 - 1e-6, step), borders, right=True)


class SliceAttention(SiglipAttention):
    """Attention inside each slice, one call for all slices of a length, by the implementation that the config names."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Any = None,
        **_: object,
    ) -> tuple[Tensor, None]:
        """hidden_states (1, P, D), its slices sorted by length; in the mask's place come their EqualRuns."""
        assert isinstance(attention_mask, EqualRuns)
        heads = (-1, self.num_heads, self.head_dim)
        queries, keys, values = (
            project(hidden_states).view(heads) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        outputs, start = [], 0
        for count, length in attention_mask.counts:
            piece = slice(start, start + count * length)
            split = (count, length, self.num_heads, self.head_dim)
            outputs.append(self._attend(*(states[piece].view(split) for states in (queries, keys, values))))
            start = piece.stop
        return self.out_proj(torch.cat(outputs)[None]), None

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Each (slices, patches, heads, width) -> (slices * patches, D)."""
        run: Any = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.dropout if self.training else 0.0
        attended, _ = run(
            self,
            *(states.transpose(1, 2) for states in (queries, keys, values)),
            None,
            is_causal=False,
            scaling=self.scale,
            dropout=dropout,
        )
        flat: Tensor = attended.reshape(-1, self.embed_dim)
        return flat


class SliceLayer(SiglipEncoderLayer):  # type: ignore[no-untyped-call]  # transformers has no types here
    """SigLIP's layer, its attention inside slices."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__(config)
        self.self_attn = SliceAttention(config)  # type: ignore[no-untyped-call]  # nor here


class SliceEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([SliceLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: Tensor, runs: EqualRuns) -> Tensor:
        """(1, P, D) of slices sorted by length -> (1, P, D)."""
        for layer in self.layers:
            hidden_states = layer(hidden_states, runs)
        return hidden_states


class VisionTower(SiglipPreTrainedModel):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Patches of slices in, their features out; parameters as published under `vpm`."""

    config_class = SiglipVisionConfig
    main_input_name = "pixel_values"
    base_model_prefix = ""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__(config)
        self._no_split_modules = ["PatchEmbeddings", "SliceLayer"]
        self.embeddings = PatchEmbeddings(config)
        self.encoder = SliceEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()  # type: ignore[no-untyped-call]  # nor here

    def get_input_embeddings(self) -> nn.Module:
        """The layer that turns pixels into vectors."""
        return self.embeddings.patch_embedding

    def forward(self, pixel_values: Tensor, sizes: list[list[int]]) -> Tensor:
        """pixel_values (P, 3, side, side): the patches of slices of these sizes (patches high, wide) -> (P, D)."""
        runs = sort_by_length([high * wide for high, wide in sizes], pixel_values.device)
        patches: Tensor = self.embeddings(pixel_values, sizes)
        hidden = self.encoder(patches[runs.gather][None], runs)[0]
        features: Tensor = self.post_layernorm(hidden[inverse(runs.gather)])
        return features
