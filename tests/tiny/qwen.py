"""Tiny Qwen models: text and vision-language."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from tests.tiny.kinds import padded_vocab_size, read_template, save_random_model
from tests.tiny.tokenizer import build_qwen_tokenizer

SPECIAL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PIXEL_BUDGET = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 64}
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}


def qwen2_tokenizer(template: str = "qwen2") -> PreTrainedTokenizerBase:
    """Qwen's tokenizer class and special tokens over the tiny vocabulary."""
    return build_qwen_tokenizer(SPECIAL_TOKENS, chat_template=read_template(template))


def text_sizes(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | bool]:
    """What every tiny Qwen language model has in common."""
    return {
        "vocab_size": padded_vocab_size(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "bos_token_id": None,
    }


def vision_token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The ids a Qwen vision-language config names."""
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


def build_qwen2(folder: Path) -> None:
    """Qwen2, text only, embeddings and output head tied as in the small real ones."""
    tokenizer = qwen2_tokenizer()
    tokenizer.save_pretrained(folder)
    save_random_model(Qwen2ForCausalLM, Qwen2Config(**text_sizes(tokenizer), tie_word_embeddings=True), folder)


def build_qwen2_5_vl(folder: Path) -> None:
    """Qwen2.5-VL: 14-pixel patches merged 2 x 2, at most 64 tokens an image."""
    tokenizer = qwen2_tokenizer("qwen2_vl")
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(PIXEL_BUDGET)),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(PIXEL_BUDGET)),
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = Qwen2_5_VLConfig(
        text_config={**text_sizes(tokenizer), "rope_parameters": MROPE},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        tie_word_embeddings=False,
        **vision_token_ids(tokenizer),
    )
    save_random_model(Qwen2_5_VLForConditionalGeneration, config, folder)
