"""InternLM2 and InternLM2.5, 1.8B to 20B, base and chat."""

from __future__ import annotations

from pathlib import Path

from tunesmith.models.families.family import Family
from tunesmith.models.families.internlm2.config import InternLM2Config
from tunesmith.models.families.internlm2.model import InternLM2ForCausalLM
from tunesmith.models.families.internlm2.weights import published_layers, register_weight_map
from tunesmith.models.families.published_tokenizer import PublishedTokenizer, read_published_tokenizer

_MODEL_TYPE = InternLM2Config.model_type


def _read_tokenizer(folder: Path) -> PublishedTokenizer:
    return read_published_tokenizer(folder, model_type=_MODEL_TYPE)


register_weight_map(_MODEL_TYPE)
FAMILY = Family(
    model_type=_MODEL_TYPE,
    config_class=InternLM2Config,
    model_class=InternLM2ForCausalLM,
    read_preprocessing=_read_tokenizer,
    native_config=InternLM2Config.as_llama,
    published_layers=published_layers,
)
