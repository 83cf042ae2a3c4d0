"""What a user has before a journey begins: LLaMA-Factory's demo data, a small Qwen2.5-VL with the real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from tests.tiny.kinds import read_template
from tests.tiny.qwen import MROPE, PIXEL_BUDGET, vision_token_ids
from tunesmith.cli.main import main

_BESIDE = Path(__file__).parents[3] / "shared"
DEMO_DATA = _BESIDE / "data" / "llamafactory_demo"
QWEN_TOKENIZER = _BESIDE / "tokenizers" / "qwen" / "tokenizer.json"

needs_demo_data = pytest.mark.skipif(not DEMO_DATA.is_dir(), reason="LLaMA-Factory's demo data is not here")
needs_qwen_tokenizer = pytest.mark.skipif(not QWEN_TOKENIZER.is_file(), reason="Qwen's tokenizer is not here")


def tunesmith(*words: str | Path) -> None:
    """Run one command line as the console script does; it must succeed."""
    status = main([str(word) for word in words])
    assert status == 0, f"tunesmith {' '.join(map(str, words))} ended with {status}"


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def losses(run: Path) -> list[float]:
    """The training losses that a run logged, in order."""
    return [line["loss"] for line in read_json_lines(run / "metrics.jsonl") if "loss" in line]


def write_small_qwen(folder: Path) -> Path:
    """A random Qwen2.5-VL of 5 million parameters, nearly all of them the embedding of Qwen's real 152k tokens."""
    tokenizer = _read_qwen_tokenizer()
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(PIXEL_BUDGET)),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(PIXEL_BUDGET)),
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(_small_config(tokenizer)).save_pretrained(folder)
    return folder


def _read_qwen_tokenizer() -> Qwen2Tokenizer:
    stored = json.loads(QWEN_TOKENIZER.read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in stored["added_tokens"]}
    merges = stored["model"]["merges"]
    tokenizer = Qwen2Tokenizer(
        vocab=stored["model"]["vocab"] | special,
        merges=[tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in special if token not in ("<|endoftext|>", "<|im_end|>")],
        chat_template=read_template("qwen2_vl"),
    )
    assert all(tokenizer.convert_tokens_to_ids(token) == number for token, number in special.items())
    return tokenizer


def _small_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 32,
            "initializer_range": 0.2,  # with Qwen's 0.02 an adapter on so few dimensions could hardly move the logits
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "rope_parameters": MROPE,
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
            "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=True,
        **vision_token_ids(tokenizer),
    )
