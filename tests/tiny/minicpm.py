"""Tiny MiniCPM-V and -o folders in the layout in which these models are published: flat config, no chat processor.

`write_files` writes all but the weights, the builders those too. No Python code lies in the folders, though their
configs name some, as the published ones do. What only the -o model has (sound) is in `minicpm_audio`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tests.tiny import minicpm_audio
from tests.tiny.kinds import padded_vocab_size, read_template, save_random_model
from tests.tiny.tokenizer import build_bpe_tokenizer, build_qwen_tokenizer
from tunesmith.models.load import load_config, model_class_of

NUM_QUERIES = 4
"""Tokens an image slice becomes (the real models: 64)."""

_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_MARKS = (
    *("<unk>", "<image>", "</image>", "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"),
    *("<point>", "</point>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<unit>", "</unit>"),
)
_CHAT = ("<|im_start|>", "<|im_end|>")
_TEXT: Mapping[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "torch_dtype": "float32",
    "transformers_version": "4.51.0",
}
_QWEN: Mapping[str, Any] = {
    "attention_dropout": 0.0,
    "max_window_layers": 2,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
_LLAMA: Mapping[str, Any] = {
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "factor": 1.0,
        "rope_type": "longrope",
        "long_factor": [1.0 + index / 16 for index in range(32)],
        "short_factor": [1.0 + index / 32 for index in range(32)],
        "original_max_position_embeddings": 4096,
    },
    "tie_word_embeddings": True,
}
_EYES: Mapping[str, Any] = {
    "batch_vision_input": True,
    "drop_vision_last_layer": False,
    "image_size": 112,
    "patch_size": 14,
    "query_num": NUM_QUERIES,
    "slice_mode": True,
    "use_image_id": True,
    "vision_batch_size": 16,
    "vision_config": {
        "hidden_size": 32,
        "image_size": 112,
        "intermediate_size": 48,
        "model_type": "siglip",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "patch_size": 14,
    },
}
_VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "minicpmv_2_6": {"version": 2.6, **_QWEN},
    "minicpmv_4_0": {"version": 4.0, **_LLAMA},
    "minicpmv_4_5": {"version": 4.5, **_QWEN, "attention_bias": False, "head_dim": 64, "batch_3d_resampler": True},
    "minicpmo_2_6": {"version": 2.6, **_QWEN},
}


def write_files(kind: str, folder: Path) -> None:
    """Config, preprocessing and tokenizer files of a kind (a key of `_VERSIONS`) into an existing folder."""
    tokenizer = _tokenizer(kind)
    _write_tokenizer(tokenizer, folder, kind)
    ids = {
        "vocab_size": padded_vocab_size(tokenizer),
        "bos_token_id": tokenizer.convert_tokens_to_ids(tokenizer.bos_token or "<|im_start|>"),
        "eos_token_id": tokenizer.eos_token_id,
    }
    _write_json(folder / "config.json", {**published_config(kind), **ids})
    _write_json(folder / "preprocessor_config.json", _preprocessing(kind))
    generation = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    _write_json(folder / "generation_config.json", {**generation, "pad_token_id": tokenizer.pad_token_id})


def build(kind: str, folder: Path) -> None:
    """A whole folder of a kind; its config.json stays as published, whatever our class would write."""
    write_files(kind, folder)
    published = (folder / "config.json").read_text(encoding="utf-8")
    config = load_config(folder)
    save_random_model(model_class_of(config, folder), config, folder)
    (folder / "config.json").write_text(published, encoding="utf-8")


BUILDERS: Mapping[str, Callable[[Path], None]] = {kind: partial(build, kind) for kind in _VERSIONS}


def _hears(kind: str) -> bool:
    return kind.startswith("minicpmo")


def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """Qwen's tokenizer with MiniCPM's marks, or, for 4.0, one that puts `<s>` first."""
    marks = (*_MARKS, *minicpm_audio.TOKENS) if _hears(kind) else _MARKS
    if kind == "minicpmv_4_0":
        return build_bpe_tokenizer(
            (*_CHAT, *marks), bos_token="<s>", eos_token="<|im_end|>", pad_token="</s>", chat_template=_CHATML
        )
    template = read_template("qwen3" if kind == "minicpmv_4_5" else "qwen2")
    return build_qwen_tokenizer((*_CHAT, *marks), chat_template=template)


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, kind: str) -> None:
    """As transformers 4 wrote them: vocabulary and merges in files, the template in tokenizer_config.json."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    _write_json(folder / "vocab.json", model["vocab"])
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    settings = _tokenizer_settings(tokenizer, kind)
    _write_json(folder / "tokenizer_config.json", settings)
    named = {name: settings[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    _write_json(folder / "special_tokens_map.json", named)


def _tokenizer_settings(tokenizer: PreTrainedTokenizerBase, kind: str) -> dict[str, Any]:
    name = "MiniCPMOTokenizerFast" if _hears(kind) else "MiniCPMVTokenizerFast"
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {
        "added_tokens_decoder": {
            str(token_id): {flag: getattr(token, flag) for flag in flags}
            for token_id, token in tokenizer.added_tokens_decoder.items()
        },
        "additional_special_tokens": list(_MARKS),
        "auto_map": {"AutoTokenizer": [f"tokenization_{name[:8].lower()}_fast.{name}", None]},
        "bos_token": tokenizer.bos_token or "<|im_start|>",
        "chat_template": tokenizer.chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": tokenizer.eos_token,
        "model_max_length": 131072,
        "pad_token": tokenizer.pad_token,
        "tokenizer_class": name,
        "unk_token": "<unk>",
    }


def published_config(kind: str) -> dict[str, Any]:
    """A kind's config.json, but for what its tokenizer decides."""
    code = "minicpmo" if _hears(kind) else "minicpmv"
    name = "MiniCPMO" if _hears(kind) else "MiniCPMV"
    return {
        "_name_or_path": f"openbmb/{kind}",
        "architectures": [name],
        "auto_map": {
            "AutoConfig": f"configuration_minicpm.{name}Config",
            "AutoModel": f"modeling_{code}.{name}",
            "AutoModelForCausalLM": f"modeling_{code}.{name}",
        },
        "model_type": code,
        **_TEXT,
        **_EYES,
        "slice_config": {"max_slice_nums": 4, "patch_size": 14, "model_type": code},
        **_VERSIONS[kind],
        **(minicpm_audio.config() if _hears(kind) else {}),
    }


def _preprocessing(kind: str) -> dict[str, Any]:
    code = "minicpmo" if _hears(kind) else "minicpmv"
    name = "MiniCPMO" if _hears(kind) else "MiniCPMV"
    return {
        "image_processor_type": "MiniCPMVImageProcessor",
        "auto_map": {
            "AutoProcessor": f"processing_{code}.{name}Processor",
            "AutoImageProcessor": "image_processing_minicpmv.MiniCPMVImageProcessor",
        },
        "processor_class": f"{name}Processor",
        "max_slice_nums": 4,
        "scale_resolution": 112,
        "patch_size": 14,
        "use_image_id": True,
        "image_feature_size": NUM_QUERIES,
        **{"im_start": "<image>", "im_end": "</image>", "slice_start": "<slice>", "slice_end": "</slice>"},
        **{"unk": "<unk>", "im_id_start": "<image_id>", "im_id_end": "</image_id>"},
        "slice_mode": True,
        "norm_mean": [0.5, 0.5, 0.5],
        "norm_std": [0.5, 0.5, 0.5],
        "version": 2.6,
        **(minicpm_audio.preprocessing() if _hears(kind) else {}),
    }


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
