"""Which of InternLM2's published weights is which of Llama's, both ways.

The published `wqkv` has, for each key and value head, the rows of its query heads, then those of the key, then those
of the value.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter, WeightRenaming

from tunesmith.models.families.published_layers import FusedLayer, PublishedLayers

_RENAMED = (
    ("tok_embeddings", "embed_tokens"),
    ("attention.wo", "self_attn.o_proj"),
    ("feed_forward.w1", "mlp.gate_proj"),
    ("feed_forward.w3", "mlp.up_proj"),
    ("feed_forward.w2", "mlp.down_proj"),
    ("attention_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("output", "lm_head"),
)
_FUSED = "attention.wqkv"
_PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

Tensors = dict[str, Any]
"""By the pattern of their name; transformers puts a tensor into a list of one on loading."""


class AttentionShape(Protocol):
    """What of a config says how the fused weight is laid out."""

    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int


def published_layers(config: AttentionShape) -> PublishedLayers:
    """The published names and shapes of the layers of a model of `config`."""
    return PublishedLayers(_RENAMED, (FusedLayer(_FUSED, _PARTS, _rows(config)),))


def _rows(config: AttentionShape) -> tuple[torch.Tensor, ...]:
    """Rows of queries, keys and values in the fused weight."""
    head_dim = config.hidden_size // config.num_attention_heads
    num_groups, num_queries = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
    rows = torch.arange(num_groups * (num_queries + 2) * head_dim).view(num_groups, num_queries + 2, head_dim)
    return rows[:, :-2].flatten(), rows[:, -2].flatten(), rows[:, -1].flatten()


class SplitAttention(ConversionOps):
    """One fused weight or bias into queries, keys and values; the inverse of FuseAttention."""

    @torch.no_grad()
    def convert(
        self, input_dict: Tensors, source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> Tensors:
        """By the patterns of the parts, each in memory of its own."""
        assert source_patterns == [_FUSED]
        (layer,) = published_layers(kwargs["config"]).fused
        (fused,) = (_single(tensor) for tensor in input_dict.values())
        return dict(zip(target_patterns, layer.split(fused), strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        """What saving does."""
        return FuseAttention()


class FuseAttention(ConversionOps):
    """Queries, keys and values into one weight or bias; the inverse of SplitAttention."""

    @torch.no_grad()
    def convert(
        self, input_dict: Tensors, source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> Tensors:
        """By the pattern of the fused layer."""
        (layer,) = published_layers(kwargs["config"]).fused
        parts = [_single(input_dict[pattern]) for pattern in source_patterns]
        return {target_patterns[0]: layer.fuse(parts)}

    @property
    def reverse_op(self) -> ConversionOps:
        """What loading does."""
        return SplitAttention()


def register_weight_map(model_type: str) -> None:
    """Tell transformers, which then follows the map on loading, quantised too, and back on saving."""
    fused = WeightConverter(_FUSED, list(_PARTS), operations=[SplitAttention()])
    register_checkpoint_conversion_mapping(model_type, [*_renamings(), fused], overwrite=True)


def _renamings() -> list[WeightRenaming]:
    # Anchored where the name could be the end of another; a dot stands for itself.
    return [
        WeightRenaming(f"^{published}" if published == "output" else published.replace(".", r"\."), native)
        for published, native in _RENAMED
    ]


def _single(tensor: Any) -> torch.Tensor:
    single: torch.Tensor = tensor[0] if isinstance(tensor, list) else tensor
    return single
