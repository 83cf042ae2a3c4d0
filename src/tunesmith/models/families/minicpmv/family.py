"""MiniCPM-V 2.6, 4.0 and 4.5 as a family."""

from __future__ import annotations

from pathlib import Path

from tunesmith.models.families.family import Family, Preprocessing
from tunesmith.models.families.minicpmv.config import MiniCPMVConfig
from tunesmith.models.families.minicpmv.language import language_of_version, language_of_weights
from tunesmith.models.families.minicpmv.model import MiniCPMVForConditionalGeneration
from tunesmith.models.families.minicpmv.tokens import read_media_token_ids
from tunesmith.models.files.weight_files import stored_names

_NEEDED = ("image_start", "image_end", "slice_start", "slice_end")


def complete_config(config: MiniCPMVConfig, folder: Path) -> None:
    """Fill in the language model and the tokens around media. Raises ValueError for folders of older versions."""
    by_version = language_of_version(config.version)
    if by_version is None:
        raise ValueError(
            f"its version is {config.version!r}, and of these models Tunesmith reads 2.6, 4.0 and 4.5: take one of them"
        )
    language = language_of_weights(stored_names(folder)) or by_version
    if language != config.text_config.model_type:
        config.use_language(language)
    if config.media_token_ids is None:
        config.media_token_ids = read_media_token_ids(folder)
    lacking = [role for role in _NEEDED if config.media_token_ids is not None and role not in config.media_token_ids]
    if lacking:
        raise ValueError(f"its tokenizer has no tokens for {', '.join(lacking)}: tokenizer and model do not fit")


def _read_preprocessing(folder: Path) -> Preprocessing:
    from tunesmith.models.families.minicpmv.processor import read_processor

    return read_processor(folder)


FAMILY = Family(
    model_type=MiniCPMVConfig.model_type,
    config_class=MiniCPMVConfig,
    model_class=MiniCPMVForConditionalGeneration,
    read_preprocessing=_read_preprocessing,
    complete=complete_config,
    reads_media=True,
)
