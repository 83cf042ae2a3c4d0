"""Tiny MiniCPM-V 4.6 and 4.7, the versions that transformers has classes for. Older versions are in `minicpm.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import (
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6ImageProcessor,
    MiniCPMV4_6Processor,
    MiniCPMV4_6VideoProcessor,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from tests.tiny.kinds import read_template, save_random_model
from tests.tiny.qwen import SPECIAL_TOKENS, text_sizes
from tests.tiny.tokenizer import build_qwen_tokenizer

_NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
_SLICING: dict[str, Any] = {"scale_resolution": 112, "patch_size": 14, "max_slice_nums": 4}
_MARKERS = {
    "image_start_id": "<image>",
    "image_end_id": "</image>",
    "slice_start_id": "<slice>",
    "slice_end_id": "</slice>",
}


def build_minicpmv4_6(folder: Path) -> None:
    """MiniCPM-V 4.6: numbered pictures, an overview and slices of it, merged twice."""
    tokenizer = _write_processor(MiniCPMV4_6Processor, folder)
    text = {"model_type": "qwen3", **text_sizes(tokenizer), "head_dim": 16}
    config = MiniCPMV4_6Config(text_config=text, **_vision(tokenizer))
    save_random_model(MiniCPMV4_6ForConditionalGeneration, config, folder)


def build_minicpmv4_6_as_published(folder: Path) -> None:
    """The same on the language model of the published 4.6, Qwen3.5: a layer of linear attention, one of full."""
    tokenizer = _write_processor(MiniCPMV4_6Processor, folder)
    text = _qwen3_5(tokenizer, layers=("linear_attention", "full_attention"))
    config = MiniCPMV4_6Config(text_config=text, **_vision(tokenizer))
    save_random_model(MiniCPMV4_6ForConditionalGeneration, config, folder)


def build_minicpmv4_7(folder: Path) -> None:
    """MiniCPM-V 4.7: like 4.6, with positions on the canvas of the picture. Needs transformers 5.18."""
    tokenizer = _write_processor(transformers.MiniCPMV4_7Processor, folder)
    text = _qwen3_5(tokenizer, layers=("full_attention", "full_attention"))
    markers = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _MARKERS.items()}
    newline: int = tokenizer.encode("\n", add_special_tokens=False)[0]
    config = transformers.MiniCPMV4_7Config(text_config=text, **_vision(tokenizer), **markers, newline_id=newline)
    save_random_model(transformers.MiniCPMV4_7ForConditionalGeneration, config, folder)


def _write_processor(processor_class: type[ProcessorMixin], folder: Path) -> PreTrainedTokenizerBase:
    tokenizer = build_qwen_tokenizer(SPECIAL_TOKENS, chat_template=read_template("minicpmv4_6"), named_tokens=_NAMED)
    processor = processor_class(
        image_processor=MiniCPMV4_6ImageProcessor(**_SLICING),
        video_processor=MiniCPMV4_6VideoProcessor(**_SLICING),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    return tokenizer


def _vision(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """A tower of two layers, its window merger behind the first."""
    return {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 112,
            "patch_size": 14,
            "insert_layer_id": 0,
        },
        "insert_layer_id": 0,
        "image_size": 112,
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
    }


def _qwen3_5(tokenizer: PreTrainedTokenizerBase, *, layers: tuple[str, ...]) -> dict[str, Any]:
    return {
        "model_type": "qwen3_5_text",
        **text_sizes(tokenizer),
        "head_dim": 16,
        "layer_types": list(layers),
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "mrope_section": [3, 3, 2],
            "mrope_interleaved": True,
        },
    }
