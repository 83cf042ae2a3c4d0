"""The half that speaks: any causal language model, with a token for pictures among its own.

What is handed on is transformers' own class of model and config, also where the folder is of a family of ours. Knows
nothing of vision towers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError
from tunesmith.models.families.table import find_family
from tunesmith.models.files.weight_files import check_config
from tunesmith.models.load import is_multimodal, load_config, read_pretrained
from tunesmith.models.preprocessing.processor import read_preprocessor
from tunesmith.models.vocabulary import grow_to_tokens

IMAGE_TOKEN = "<image>"
_THAT_ANSWER: tuple[Any, ...] = (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model that has a token for pictures.

    model:         on the CPU, in the number format it is stored in
    config:        of transformers' own class with the same parameters
    tokenizer:     knows `image_token`
    chat_template: the model's own, None for base models without one
    """

    model: PreTrainedModel
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    image_token: str

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""
        return self.model.dtype


def check_language_model(folder: Path) -> PretrainedConfig:
    """Its config. Raises UsageError where `folder` is no causal language model in full precision that only reads."""
    content = check_config(folder)
    model_type = str(content.get("model_type"))
    if "quantization_config" in content:
        raise UsageError(f"--language_model {folder} is quantised: give the model it was made from, unquantised")
    if model_type in CONFIG_MAPPING and not any(CONFIG_MAPPING[model_type] in table for table in _THAT_ANSWER):
        raise UsageError(
            f"--language_model {folder} ({model_type}) is no causal language model; give one, such as a Qwen3, and a "
            "vision tower as --vision_tower"
        )
    config = load_config(folder)
    if is_multimodal(config):
        raise UsageError(
            f"--language_model {folder} ({model_type}) takes images or sound already: train it as it is, or give a "
            "language model that reads text only"
        )
    return config


def load_language_model(folder: Path) -> LanguageModel:
    """The language model in `folder`, its embedding grown where the token for pictures needs a row.

    Raises UsageError for folders of another kind, ModelError for what cannot be read.
    """
    config = check_language_model(folder)
    preprocessor = read_preprocessor(folder, media=MediaSettings())
    tokenizer = _native_tokenizer(preprocessor.tokenizer)
    image_token = _with_image_token(tokenizer)
    model = read_pretrained(folder, config, dtype=None, device="cpu")
    model.train(False)
    grow_to_tokens(model, len(tokenizer))
    return LanguageModel(model, _native_config(model.config), tokenizer, preprocessor.chat_template, image_token)


def _with_image_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token for pictures, added to `tokenizer` unless it has one by that name already."""
    # LLaVA's processor prefers the one that the tokenizer itself calls its image token.
    token = str(tokenizer.image_token) if hasattr(tokenizer, "image_token") else IMAGE_TOKEN
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True)], special_tokens=True)
    return token


def _native_tokenizer(tokenizer: Any) -> PreTrainedTokenizerBase:
    """`tokenizer` itself, or the same as transformers' general class where it is of a class of ours."""
    if isinstance(tokenizer, PreTrainedTokenizerBase) and type(tokenizer).__module__.startswith("transformers."):
        return tokenizer
    general: Any = PreTrainedTokenizerFast
    native: PreTrainedTokenizerBase = general(
        tokenizer_object=tokenizer.backend_tokenizer,
        padding_side=tokenizer.padding_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        **tokenizer.special_tokens_map,
    )
    return native


def _native_config(config: Any) -> PretrainedConfig:
    family = find_family(config.model_type)
    if family is None or family.native_config is None:
        own: PretrainedConfig = config
        return own
    return family.native_config(config)
