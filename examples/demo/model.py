"""A tiny Qwen2.5-VL with random weights, and a tokenizer learned from the demo's texts, as a folder one could download.

Every class is transformers' own; only the sizes are ours. Knows nothing of Tunesmith.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.utils import logging

from examples.demo.scenes import SIZE

NUM_TEXT_TOKENS = 640
"""At most this many tokens before the special ones: 256 bytes and what is learned from the texts."""

HIDDEN_SIZE = 96

_SPECIAL_TOKENS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]

# How Qwen's tokenizer cuts a text into words before it looks for tokens in them.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_model(folder: Path, texts: Iterable[str], *, seed: int) -> None:
    """Write the processor and the random model into `folder`; the same bytes for the same texts and seed."""
    processor = _build_processor(_build_tokenizer(texts))
    torch.manual_seed(seed)
    logging.disable_progress_bar()
    model = Qwen2_5_VLForConditionalGeneration(_build_config(processor.tokenizer))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _build_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Byte-level BPE learned from `texts`, in Qwen's class and with the special tokens a picture needs."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=NUM_TEXT_TOKENS, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab={**learned["vocab"], "<|endoftext|>": len(learned["vocab"])},
        merges=[tuple(merge) for merge in learned["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=_SPECIAL_TOKENS,
        chat_template=Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8"),
    )


def _build_processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLProcessor:
    budget = {"shortest_edge": SIZE * SIZE, "longest_edge": SIZE * SIZE}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(budget)),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(budget)),
        chat_template=tokenizer.chat_template,
    )


def _build_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """Two layers of tower, two of language model: 0.7 million parameters."""
    # The rotation must differ clearly between neighbours in a grid of 4 x 4, hence a base of 2 instead of a million.
    positions = {"rope_type": "default", "rope_theta": 2.0, "mrope_section": [2, 5, 5]}
    sizes = {"hidden_size": HIDDEN_SIZE, "initializer_range": 0.08}
    return Qwen2_5_VLConfig(
        text_config={
            **sizes,
            "vocab_size": len(tokenizer),
            "intermediate_size": 3 * HIDDEN_SIZE,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": positions,
            "tie_word_embeddings": True,
            **_token_ids(tokenizer, bos="<|endoftext|>", eos="<|im_end|>", pad="<|endoftext|>"),
        },
        vision_config={
            **sizes,
            "depth": 2,
            "intermediate_size": 2 * HIDDEN_SIZE,
            "num_heads": 4,
            "out_hidden_size": HIDDEN_SIZE,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=True,
        **_token_ids(tokenizer, image="<|image_pad|>", video="<|video_pad|>"),
        **_token_ids(tokenizer, vision_start="<|vision_start|>", vision_end="<|vision_end|>"),
    )


def _token_ids(tokenizer: Qwen2Tokenizer, **named: str) -> dict[str, int]:
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in named.items()}
