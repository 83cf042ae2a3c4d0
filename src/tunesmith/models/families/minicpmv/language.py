"""Which language model stands inside a MiniCPM-V or -o, and its config of transformers.

The published config.json names none: it lies flat in it, and the Python code beside it decides. Here the names of the
stored weights decide, and without weights the `version`. Reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from transformers import LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

_CONFIGS: Mapping[str, type[PretrainedConfig]] = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "llama": LlamaConfig}

_VERSIONS: Mapping[str, str] = {"2.6": "qwen2", "4.0": "llama", "4": "llama", "4.5": "qwen3"}

_OF_THE_WHOLE = frozenset({"architectures", "transformers_version", "dtype", "id2label", "label2id"})
"""Fields that every config has and that are said of the whole model."""

_ROPE = ("rope_theta", "rope_scaling")


def language_of_version(version: object) -> str | None:
    """The language model type of a published `version` (2.6, "4.0", …); None for others."""
    return _VERSIONS.get(str(version))


def language_of_weights(names: Iterable[str]) -> str | None:
    """The language model type that weights of these names belong to; None where none is a language model's."""
    inside = [name for name in names if name.startswith("llm.model.layers.0.self_attn.")]
    if not inside:
        return None
    if any(name.endswith("q_norm.weight") for name in inside):
        return "qwen3"
    return "qwen2" if any(name.endswith("q_proj.bias") for name in inside) else "llama"


def text_config(model_type: str, published: Mapping[str, Any]) -> PretrainedConfig:
    """transformers' config of the language model, from the flat keys of a published config.json."""
    config_class = _CONFIGS[model_type]
    known = {field.name for field in fields(config_class)} - _OF_THE_WHOLE
    given = {name: value for name, value in published.items() if name in known or name in _ROPE}
    if isinstance(given.get("rope_scaling"), dict):
        given["rope_scaling"] = dict(given["rope_scaling"])  # transformers writes into it
    config: PretrainedConfig = config_class(**given)
    return config


def changed_keys(config: PretrainedConfig, as_read: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed in a text config since `as_read` (its `to_dict`), under the published flat keys."""
    now = config.to_dict()
    changed = {
        name: value
        for name, value in now.items()
        if name in as_read and value != as_read[name] and name not in _OF_THE_WHOLE
    }
    rope = changed.pop("rope_parameters", None)
    if rope is not None:
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        changed["rope_theta"] = rope.get("rope_theta")
        changed["rope_scaling"] = None if scaling.get("rope_type") == "default" else scaling
    return changed
