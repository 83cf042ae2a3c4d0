"""What a model family of our own consists of, and how it is made known to transformers.

Knows nothing of any one family: the table names them, each in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from tunesmith.models.families.published_layers import PublishedLayers

Preprocessing = PreTrainedTokenizerBase | ProcessorMixin


def _nothing_to_add(config: PretrainedConfig, folder: Path) -> None:
    """For families whose config.json says everything."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    model_type:         as its published config.json has it
    config_class:       reads that config.json and writes it back under the published names
    model_class:        with transformers' forward and generate; its state dict has the published names, or conversion
                        mappings of transformers lead there and back
    read_preprocessing: its tokenizer, or its processor where it reads media, from the published files; raises what
                        transformers' own raise (OSError, ValueError, …)
    complete:           fills in what only other files of the folder say (ids of the tokenizer, names of the weights)
    reads_media:        whether it takes images or sound beside text
    native_config:      the config of transformers' own class with the same parameters under the same names, which gives
                        the same logits; None where there is no such class
    published_layers:   for a config, which layers are published under other names or fused; None where none are
    """

    model_type: str
    config_class: type[PretrainedConfig]
    model_class: type[PreTrainedModel]
    read_preprocessing: Callable[[Path], Preprocessing]
    complete: Callable[[Any, Path], None] = _nothing_to_add
    reads_media: bool = False
    native_config: Callable[[Any], PretrainedConfig] | None = None
    published_layers: Callable[[Any], PublishedLayers] | None = None

    def register(self) -> None:
        """Let transformers' Auto classes know the family; once more does nothing."""
        AutoConfig.register(self.model_type, self.config_class, exist_ok=True)
        auto_class: Any = AutoModelForImageTextToText if self.reads_media else AutoModelForCausalLM
        auto_class.register(self.config_class, self.model_class, exist_ok=True)
