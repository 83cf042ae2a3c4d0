"""Tiny models that hear: Qwen2-Audio (sound only) and Qwen2.5-Omni's thinker (images, videos, sound)."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedTokenizerBase,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from tests.tiny.kinds import read_template, save_random_model
from tests.tiny.qwen import MROPE, PIXEL_BUDGET, text_sizes
from tests.tiny.tokenizer import build_qwen_tokenizer

_CONTROL = ("<|im_start|>", "<|im_end|>")
_TOWER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "num_mel_bins": 16,
}


def _extractor(seconds: int) -> WhisperFeatureExtractor:
    """Whisper's features in 16 bands; sound is cut after `seconds` (the real ones: 30 and 300)."""
    return WhisperFeatureExtractor(feature_size=16, chunk_length=seconds, return_attention_mask=True)


def build_qwen2_audio(folder: Path) -> None:
    """Qwen2-Audio: a Whisper tower over 4 s of sound, pooled to 25 tokens a second."""
    named = {
        "audio_token": "<|AUDIO|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokenizer = build_qwen_tokenizer(_CONTROL, chat_template=read_template("qwen2_audio"), named_tokens=named)
    processor = Qwen2AudioProcessor(
        feature_extractor=_extractor(4), tokenizer=tokenizer, chat_template=tokenizer.chat_template
    )
    processor.save_pretrained(folder)
    config = Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **text_sizes(tokenizer)},
        audio_config={"model_type": "qwen2_audio_encoder", **_TOWER, "max_source_positions": 200},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    save_random_model(Qwen2AudioForConditionalGeneration, config, folder)


def build_qwen2_5_omni(folder: Path) -> None:
    """Qwen2.5-Omni as it is published: a thinker beside a talker, of which only the thinker has weights here."""
    named = {
        "image_token": "<|IMAGE|>",
        "audio_token": "<|AUDIO|>",
        "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokenizer = build_qwen_tokenizer(_CONTROL, chat_template=read_template("qwen2_5_omni"), named_tokens=named)
    processor = Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(PIXEL_BUDGET)),
        video_processor=Qwen2VLVideoProcessor(size=dict(PIXEL_BUDGET)),
        feature_extractor=_extractor(6),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    config = Qwen2_5OmniConfig(thinker_config=_thinker(tokenizer))
    save_random_model(Qwen2_5OmniThinkerForConditionalGeneration, config.thinker_config, folder)
    _put_into_whole_model(folder, config)


def _thinker(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "text_config": {**text_sizes(tokenizer), "rope_parameters": MROPE},
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        "audio_config": {**_TOWER, "output_dim": 32, "n_window": 50},
        "image_token_index": ids("<|IMAGE|>"),
        "video_token_index": ids("<|VIDEO|>"),
        "audio_token_index": ids("<|AUDIO|>"),
        "vision_start_token_id": ids("<|vision_bos|>"),
        "vision_end_token_id": ids("<|vision_eos|>"),
        "audio_start_token_id": ids("<|audio_bos|>"),
        "audio_end_token_id": ids("<|audio_eos|>"),
    }


def _put_into_whole_model(folder: Path, config: Qwen2_5OmniConfig) -> None:
    """The folder's thinker under the names and the config of the whole model."""
    weights = load_file(folder / "model.safetensors")
    renamed = {f"thinker.{name}": value for name, value in weights.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    whole = config.to_dict() | {"architectures": ["Qwen2_5OmniModel"]}
    (folder / "config.json").write_text(json.dumps(whole, indent=2, sort_keys=True), encoding="utf-8")
