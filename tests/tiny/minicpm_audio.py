"""What the tiny MiniCPM-o folder has beside the tiny MiniCPM-V's: a Whisper encoder and its tokens."""

from __future__ import annotations

from typing import Any

TOKENS = (
    *("<|audio_start|>", "<|audio|>", "<|audio_end|>"),
    *("<|spk_bos|>", "<|spk|>", "<|spk_eos|>", "<|tts_bos|>", "<|tts_eos|>"),
)
NUM_MEL_BINS = 16
"""Bands of the spectrogram (the real model: 80)."""


def config() -> dict[str, Any]:
    """The keys of config.json that only -o has. The speech output's are there, its weights are not."""
    return {
        "audio_chunk_length": 1.0,
        "audio_config": {
            "_name_or_path": "openai/whisper-medium",
            "architectures": ["MiniCPMWhisperEncoder"],
            "activation_function": "gelu",
            "d_model": 32,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 128,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 128,
            "encoder_layers": 2,
            "max_source_positions": 1500,
            "model_type": "whisper",
            "num_hidden_layers": 2,
            "num_mel_bins": NUM_MEL_BINS,
            "torch_dtype": "float32",
        },
        "audio_pool_step": 2,
        "chunk_input": True,
        "tts_config": {"model_type": "conditional_chattts", "llm_dim": 128},
    }


def preprocessing() -> dict[str, Any]:
    """The keys of preprocessor_config.json that only -o has."""
    return {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": NUM_MEL_BINS}
