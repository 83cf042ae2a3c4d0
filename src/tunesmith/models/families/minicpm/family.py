"""MiniCPM's text models of model type `minicpm`; MiniCPM3 (`minicpm3`) is transformers' own."""

from __future__ import annotations

from pathlib import Path

from tunesmith.models.families.family import Family
from tunesmith.models.families.minicpm.config import MiniCPMConfig
from tunesmith.models.families.minicpm.model import MiniCPMForCausalLM
from tunesmith.models.families.published_tokenizer import PublishedTokenizer, read_published_tokenizer
from tunesmith.models.files.weight_files import check_config, stored_names

_MODEL_TYPE = MiniCPMConfig.model_type


def _read_tokenizer(folder: Path) -> PublishedTokenizer:
    return read_published_tokenizer(folder, model_type=_MODEL_TYPE)


def _complete(config: MiniCPMConfig, folder: Path) -> None:
    """Published classes differ in what an absent `tie_word_embeddings` means; the stored weights say it."""
    names = stored_names(folder)
    if names and "tie_word_embeddings" not in check_config(folder):
        config.tie_word_embeddings = "lm_head.weight" not in names


FAMILY = Family(
    model_type=_MODEL_TYPE,
    config_class=MiniCPMConfig,
    model_class=MiniCPMForCausalLM,
    read_preprocessing=_read_tokenizer,
    complete=_complete,
    native_config=MiniCPMConfig.as_granite,
)
