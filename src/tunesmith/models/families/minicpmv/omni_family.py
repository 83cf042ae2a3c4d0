"""MiniCPM-o 2.6 and 4.5 as a family."""

from __future__ import annotations

from pathlib import Path

from tunesmith import log
from tunesmith.models.families.family import Family
from tunesmith.models.families.minicpmv.family import complete_config
from tunesmith.models.families.minicpmv.omni_config import MiniCPMOConfig
from tunesmith.models.families.minicpmv.omni_model import MiniCPMOForConditionalGeneration
from tunesmith.models.families.minicpmv.processor import read_processor
from tunesmith.models.files.weight_files import stored_names

_NEEDED = ("audio_start", "audio_end")


def complete_omni_config(config: MiniCPMOConfig, folder: Path) -> None:
    """What MiniCPM-V completes, and whether there are ears. Raises ValueError for folders that do not fit together."""
    complete_config(config, folder)
    names = stored_names(folder)
    if names and not any(name.startswith("apm.") for name in names):
        config.audio_config = None
    if any(name.startswith("tts.") for name in names):
        log.note_once(
            "the model's speech output (weights tts.*) is not loaded and does not train: it stays as the base has it"
        )
    ids = config.media_token_ids
    lacking = [role for role in _NEEDED if ids is not None and role not in ids]
    if lacking and config.audio_config is not None:
        raise ValueError(f"its tokenizer has no tokens for {', '.join(lacking)}: tokenizer and model do not fit")


FAMILY = Family(
    model_type=MiniCPMOConfig.model_type,
    config_class=MiniCPMOConfig,
    model_class=MiniCPMOForConditionalGeneration,
    read_preprocessing=read_processor,
    complete=complete_omni_config,
    reads_media=True,
)
