"""The flat config.json of MiniCPM-o: MiniCPM-V's, and the encoder that hears.

What its speech output wants (`tts_config`, …) is kept as it is and never looked at. Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from transformers import WhisperConfig

from tunesmith.models.families.minicpmv.audio_features import read_sound_layout
from tunesmith.models.families.minicpmv.config import MiniCPMVConfig


class MiniCPMOConfig(MiniCPMVConfig):  # type: ignore[no-untyped-call]  # transformers has no types here
    """A published MiniCPM-o's config.

    audio_config:       the Whisper encoder's; None for a model without ears (`init_audio: false`)
    audio_pool_step:    encoder frames a token
    audio_chunk_length: seconds of sound that see each other; -1 for all
    """

    model_type = "minicpmo"
    sub_configs: ClassVar[dict[str, Any]] = {**MiniCPMVConfig.sub_configs, "audio_config": WhisperConfig}

    def __init__(self, **published: Any) -> None:
        self.audio_config = _audio_config(published.get("audio_config")) if published.get("init_audio", True) else None
        self.audio_pool_step: int = read_sound_layout(published).pool_step
        self.audio_chunk_length: float = published.get("audio_chunk_length", 1.0)
        super().__init__(**published)


def _audio_config(given: Mapping[str, Any] | None) -> WhisperConfig | None:
    """What concerns the encoder; the published dict also has what transformers 4 wrote of decoder and generation."""
    if given is None:
        return None
    known = {field.name for field in fields(WhisperConfig)} - {"architectures", "dtype", "transformers_version"}
    return WhisperConfig(**{name: value for name, value in given.items() if name in known})
