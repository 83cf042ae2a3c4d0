"""InternLM2's config.json as a Llama config, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

from transformers import LlamaConfig

from tunesmith.models.families.published_config import published_form, without_attention

_DERIVED = frozenset({"attention_bias", "mlp_bias", "head_dim", "attention_dropout", "published_attention"})
"""What Llama's config has and the published one has not: it follows from `bias` and the sizes, or is fixed."""

_ROPE_TYPES = ("default", "linear", "dynamic")


class InternLM2Config(LlamaConfig):  # type: ignore[no-untyped-call]
    """Published keys with the published defaults; Llama's own follow from them.

    bias: whether the attention's projections have one
    """

    model_type = "internlm2"

    vocab_size: int = 103168
    hidden_size: int = 4096
    intermediate_size: int = 11008
    max_position_embeddings: int = 2048
    pad_token_id: int | None = 0
    bias: bool = True
    published_attention: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.attention_bias = self.bias
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        rope_type = (self.rope_parameters or {}).get("rope_type", "default")
        if rope_type not in _ROPE_TYPES:
            raise ValueError(f"rope_scaling of type {rope_type!r} is none of InternLM2's: {', '.join(_ROPE_TYPES[1:])}")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """As transformers has it; the file's own `attn_implementation` decides nothing and is kept."""
        content, attention = without_attention(config_dict)
        if attention is not None:
            content["published_attention"] = attention
        return super().from_dict(content, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json gets: the published keys."""
        published = published_form(super().to_diff_dict(), derived=_DERIVED)
        if self.published_attention is not None:
            published["attn_implementation"] = self.published_attention
        return published

    def as_llama(self) -> LlamaConfig:
        """The config of transformers' class with the same parameters."""
        return LlamaConfig(**{field.name: getattr(self, field.name) for field in fields(LlamaConfig)})
