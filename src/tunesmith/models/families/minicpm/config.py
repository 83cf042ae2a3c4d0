"""MiniCPM's config.json as a Granite config, and back.

Granite multiplies at the same places under other names (arXiv 2404.06395, §4 for MiniCPM's): embeddings by `scale_emb`,
what each half of a layer adds by `scale_depth / sqrt(layers)`, hidden states before the head by
`dim_model_base / hidden_size`.
"""

from __future__ import annotations

from dataclasses import fields
from math import log, sqrt
from typing import Any, Self

from transformers import GraniteConfig

from tunesmith.models.families.published_config import published_form, without_attention

_DERIVED = frozenset(
    {
        *("embedding_multiplier", "residual_multiplier", "logits_scaling", "attention_multiplier", "mlp_bias"),
        *("published_attention", "published_rope_scaling"),
    }
)
_LONG_ROPE = "longrope"
_ROPE_TYPES = ("default", "linear", "dynamic", _LONG_ROPE)


class MiniCPMConfig(GraniteConfig):  # type: ignore[no-untyped-call]
    """Published keys with the published defaults; Granite's own follow from them.

    scale_emb, scale_depth, dim_model_base: see the module
    published_rope_scaling: `rope_scaling` as the file has it
    """

    model_type = "minicpm"

    tie_word_embeddings: bool = True
    scale_emb: float | int = 1
    scale_depth: float | int = 1
    dim_model_base: float | int = 1
    published_rope_scaling: dict[str, Any] | None = None
    published_attention: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if kwargs.get("rope_scaling"):
            self.published_rope_scaling = dict(kwargs["rope_scaling"])  # transformers writes into the one it is given
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self.embedding_multiplier = self.scale_emb
        self.residual_multiplier = self.scale_depth / sqrt(self.num_hidden_layers)
        self.logits_scaling = self.hidden_size / self.dim_model_base
        self.attention_multiplier = (self.hidden_size // self.num_attention_heads) ** -0.5
        self._settle_rope()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """As transformers has it. Raises ValueError for what cannot be reproduced exactly: sparse attention."""
        content, attention = without_attention(config_dict)
        if attention is not None:
            content["published_attention"] = attention
        if content.get("sparse_config"):
            raise ValueError(
                "sparse_config asks for sparse attention (InfLLM v2), which is not supported; take sparse_config out "
                "of config.json to use dense attention, which the model has below sparse_config's dense_len tokens"
            )
        return super().from_dict(content, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json gets: the published keys."""
        published = published_form(super().to_diff_dict(), derived=_DERIVED)
        published["rope_scaling"] = self.published_rope_scaling
        if self.published_attention is not None:
            published["attn_implementation"] = self.published_attention
        return published

    def as_granite(self) -> GraniteConfig:
        """The config of transformers' class with the same parameters."""
        return GraniteConfig(**{field.name: getattr(self, field.name) for field in fields(GraniteConfig)})

    def _settle_rope(self) -> None:
        """Say of long RoPE (arXiv 2402.13753) what the published code does and transformers otherwise decides itself.

        It scales by the ratio of the two lengths even below 1, ignores `factor`, and never uses the short factors where
        the model is longer than it was trained.
        """
        rope: dict[str, Any] = dict(self.rope_parameters or {})
        if rope.get("rope_type") not in _ROPE_TYPES:
            raise ValueError(f"rope_scaling of type {rope.get('rope_type')!r} is none of {', '.join(_ROPE_TYPES[1:])}")
        if rope["rope_type"] == _LONG_ROPE:
            trained = rope["original_max_position_embeddings"]
            ratio = self.max_position_embeddings / trained
            rope["attention_factor"] = sqrt(1 + log(ratio) / log(trained))
            if ratio > 1:
                rope["short_factor"] = rope["long_factor"]
            self.rope_parameters = rope
