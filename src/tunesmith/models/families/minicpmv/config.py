"""The flat config.json of MiniCPM-V: read into the parts transformers builds models from, written back as published.

What is derived (the language model's config, the tower's) is never written, only what was changed in it, so that the
published code reads the result under its transformers 4. Knows nothing of weights or other files.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig, SiglipVisionConfig

from tunesmith.models.families.minicpmv.language import changed_keys, language_of_version, text_config

_BY_TRANSFORMERS = frozenset(
    {"name_or_path", "attn_implementation", "experts_implementation", "output_attentions", "_commit_hash", "_from_auto"}
)
"""What transformers adds to the keys of a file when it reads it."""

_PUBLISHED_VISION: Mapping[str, Any] = {
    "hidden_size": 1152,
    "image_size": 980,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}


class MiniCPMVConfig(PretrainedConfig):  # type: ignore[no-untyped-call]  # transformers has no types here
    """A published MiniCPM-V's config.

    text_config:            the language model's, by the flat keys
    vision_config:          the SigLIP tower's, with as many layers as are used
    query_num:              tokens that an image slice, or a group of video frames, becomes
    batch_3d_resampler:     whether frames of a video can share tokens and carry times (4.5)
    vision_batch_size:      slices the tower sees at a time where nothing trains
    scale_emb:              factor on the embedding of text
    media_token_ids:        ids by role (unk, image_start, image_end, slice_start, slice_end); None until read from the
                            folder's tokenizer
    """

    model_type = "minicpmv"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig, "vision_config": SiglipVisionConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    def __init__(self, **published: Any) -> None:
        self._published = {name: deepcopy(value) for name, value in published.items() if name not in _BY_TRANSFORMERS}
        self.version = published.get("version")
        self.query_num: int = published.get("query_num", 64)
        self.batch_3d_resampler: bool = published.get("batch_3d_resampler", str(self.version) == "4.5")
        self.vision_batch_size: int = published.get("vision_batch_size", 16)
        self.scale_emb: float = published.get("scale_emb", 1.0)
        self.media_token_ids: dict[str, int] | None = published.get("media_token_ids")
        self.vision_config = _vision_config(published)
        self.use_language(language_of_version(self.version) or "qwen2")
        general = {name: published[name] for name in (*_BY_TRANSFORMERS, *_GENERAL) if name in published}
        super().__init__(**general)
        self.tie_word_embeddings = self.text_config.tie_word_embeddings

    def use_language(self, model_type: str) -> None:
        """Read the flat keys as those of this language model: "qwen2", "qwen3" or "llama"."""
        self.text_config = text_config(model_type, self._published)
        self._text_as_read = self.text_config.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """The published keys, with what has changed since they were read."""
        content = deepcopy(self._published) | changed_keys(self.text_config, self._text_as_read)
        content["model_type"] = self.model_type
        if self.media_token_ids is not None:
            content["media_token_ids"] = dict(self.media_token_ids)
        if self.dtype is not None:
            # both names: transformers 4 reads the first, 5 the second
            content["torch_dtype"] = content["dtype"] = str(self.dtype).removeprefix("torch.")
        quantization: Any = vars(self).get("quantization_config")
        if quantization is not None:
            content["quantization_config"] = quantization if isinstance(quantization, dict) else quantization.to_dict()
        return content

    def to_diff_dict(self) -> dict[str, Any]:
        """What `save_pretrained` writes: all of it, since the published code has defaults of its own."""
        return self.to_dict()


_GENERAL = ("architectures", "dtype", "torch_dtype", "quantization_config")


def _vision_config(published: Mapping[str, Any]) -> SiglipVisionConfig:
    given = {**_PUBLISHED_VISION, **(published.get("vision_config") or {})}
    given.pop("model_type", None)
    config = SiglipVisionConfig(**given)
    if published.get("drop_vision_last_layer", True):
        config.num_hidden_layers -= 1
    return config
