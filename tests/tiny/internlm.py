"""Tiny InternLM2 and MiniCPM folders as they are published: fused weights, flat configs, a sentencepiece tokenizer.

The configs are written by hand, as the published ones read; no Python code lies beside them.
"""

from __future__ import annotations

import io
import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from tests.tiny.kinds import read_template, save_random_model
from tests.tiny.tokenizer import corpus
from tunesmith.models.families.published_tokenizer import read_published_tokenizer
from tunesmith.models.families.table import find_family

NUM_PIECES = 640
SPECIAL_TOKENS = (
    "<|plugin|>",
    "<|interpreter|>",
    "<|action_end|>",
    "<|action_start|>",
    "<|im_end|>",
    "<|im_start|>",
)
_FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}

INTERNLM2: dict[str, Any] = {
    "architectures": ["InternLM2ForCausalLM"],
    "attn_implementation": "eager",
    "auto_map": {
        "AutoConfig": "configuration_internlm2.InternLM2Config",
        "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
        "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
    },
    "bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 4096,
    "model_type": "internlm2",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.41.0",
    "use_cache": True,
    "vocab_size": NUM_PIECES,
}
MINICPM: dict[str, Any] = {
    "architectures": ["MiniCPMForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_minicpm.MiniCPMConfig",
        "AutoModelForCausalLM": "modeling_minicpm.MiniCPMForCausalLM",
    },
    "bos_token_id": 1,
    "dim_model_base": 16,
    "eos_token_id": [2, 7],
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.1,
    "intermediate_size": 64,
    "max_position_embeddings": 4096,
    "model_type": "minicpm",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "rope_type": "longrope",
        "long_factor": [1.0, 1.5, 2.5, 4.0],
        "short_factor": [1.0, 1.2, 1.5, 2.0],
        "original_max_position_embeddings": 4096,
    },
    "rope_theta": 10000.0,
    "scale_depth": 1.4,
    "scale_emb": 2,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.46.3",
    "use_cache": True,
    "vocab_size": NUM_PIECES,
}


def build_internlm2(folder: Path) -> None:
    """InternLM2-1.8B's shape: grouped queries, dynamic rope scaling, a tokenizer.model alone."""
    write_internlm2(folder)


def write_internlm2(folder: Path, **changes: Any) -> Path:
    """`build_internlm2` with other values in its config.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sentencepiece(folder, read_template("internlm2"), "InternLM2Tokenizer")
    _write_model(folder, INTERNLM2 | changes)
    return folder


def build_minicpm(folder: Path) -> None:
    """MiniCPM4's shape: scaled embeddings, residuals and logits, long RoPE, a tied head, a tokenizer.json too."""
    write_sentencepiece(folder, read_template("internlm2"), "LlamaTokenizer")
    read_published_tokenizer(folder, model_type="minicpm").save_pretrained(folder)
    _write_model(folder, MINICPM)


def write_sentencepiece(folder: Path, chat_template: str | None, tokenizer_class: str) -> None:
    """tokenizer.model and tokenizer_config.json; the special tokens stand where the model has placeholders."""
    model = _train()
    (folder / "tokenizer.model").write_bytes(model)
    pieces = SentencePieceProcessor(model_proto=model)
    placed = {pieces.piece_to_id(f"[UNUSED_TOKEN_{number}]"): token for number, token in enumerate(SPECIAL_TOKENS)}
    tokens = {0: "<unk>", 1: "<s>", 2: "</s>"} | placed
    config = {
        "added_tokens_decoder": {str(number): {"content": token, **_FLAGS} for number, token in tokens.items()},
        "additional_special_tokens": list(reversed(SPECIAL_TOKENS)),
        "auto_map": {
            "AutoTokenizer": [
                "tokenization_internlm2.InternLM2Tokenizer",
                "tokenization_internlm2_fast.InternLM2TokenizerFast",
            ]
        },
        "bos_token": "<s>",
        "chat_template": chat_template,
        "clean_up_tokenization_spaces": False,
        "decode_with_prefix_space": False,
        "eos_token": "</s>",
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "</s>",
        "sp_model_kwargs": None,
        "tokenizer_class": tokenizer_class,
        "unk_token": "<unk>",
    }
    _write_json(folder / "tokenizer_config.json", {key: value for key, value in config.items() if value is not None})


def _write_model(folder: Path, config: dict[str, Any]) -> None:
    """Random weights under the published names, and `config` as it stands."""
    family = find_family(config["model_type"])
    assert family is not None
    save_random_model(family.model_class, family.config_class.from_dict(deepcopy(config)), folder)
    _write_json(folder / "config.json", config)


@cache
def _train() -> bytes:
    """Byte-pair encoding with a piece for every byte, a space before the text, and placeholders for special tokens."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=NUM_PIECES,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=[f"[UNUSED_TOKEN_{number}]" for number in range(len(SPECIAL_TOKENS))],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        hard_vocab_limit=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
