"""From a model source to something that answers: weights, adapters, preprocessor, template, engine.

Loads as training does, so what was learned is asked for in the form it was taught.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tunesmith.config.settings import Settings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.errors import UsageError
from tunesmith.infer.source import ModelSource
from tunesmith.infer.transformers_engine import TransformersEngine
from tunesmith.models.adapters.attach import attach_adapter, merge_adapters
from tunesmith.models.files.score_weight import gives_scores
from tunesmith.models.files.trained import ADAPTER_CONFIG
from tunesmith.models.files.weight_files import read_json
from tunesmith.models.load import load_model
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor, read_preprocessor
from tunesmith.models.preprocessing.template_options import published_options
from tunesmith.models.vocabulary import grow_to_adapter


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A loaded model with what asks it."""

    model: PreTrainedModel | PeftModel
    preprocessor: Preprocessor
    engine: TransformersEngine


def open_model(source: ModelSource) -> OpenModel:
    """Load everything a source names. Raises ModelError or UsageError."""
    _refuse_reward_model(source)
    preprocessor = open_preprocessor(source)
    encoder = build_encoder(source.settings, preprocessor)
    model = open_weights(source)
    return OpenModel(model, preprocessor, TransformersEngine(model, preprocessor, encoder))


def open_engine(source: ModelSource) -> TransformersEngine:
    """The engine that answers for a source, its model in evaluation mode. Raises ModelError or UsageError."""
    return open_model(source).engine


def build_encoder(settings: Settings, preprocessor: Preprocessor) -> Encoder:
    """The encoder training would use, but for limits of length. Raises UsageError where there is no chat template."""
    data = settings.data.model_copy(update={"cutoff_len": sys.maxsize})
    return Encoder(preprocessor, build_template(preprocessor, data), data)


def open_preprocessor(source: ModelSource) -> Preprocessor:
    """Tokenizer and processor: those saved with the trained model, else the base's with the settings' added tokens."""
    if source.trained is not None and (source.trained / "tokenizer_config.json").is_file():
        saved = read_preprocessor(source.trained, media=source.settings.media)
        # an adapter's folder does not say how its base was published
        return replace(saved, template_options=published_options(source.base))
    return load_preprocessor(_settings_of_base(source).model, source.settings.media)


def open_weights(source: ModelSource, *, dtype: torch.dtype | None = None) -> PreTrainedModel | PeftModel:
    """The model in evaluation mode: earlier adapters merged into the base, the last one on top of it.

    `dtype` overrules the settings' `infer_dtype` and leaves quantisation out. Raises ModelError for an adapter that
    does not fit.
    """
    model = load_model(_settings_of_base(source, dtype=dtype), trains=False)
    if not source.adapters:
        return model
    for adapter in source.adapters:
        grow_to_adapter(model, adapter)
    *earlier, last = source.adapters
    adapted = attach_adapter(merge_adapters(model, earlier), last, trains=False)
    adapted.eval()
    return adapted


def _refuse_reward_model(source: ModelSource) -> None:
    if any(map(gives_scores, (source.base, *source.adapters))):
        raise UsageError(
            f"{source} is a reward model: it scores answers and gives none. Name it as reward_model for "
            "stage: grpo, or chat with the model it was trained from"
        )


def _settings_of_base(source: ModelSource, *, dtype: torch.dtype | None = None) -> Settings:
    model = source.settings.model
    update: dict[str, object] = {"model_name_or_path": str(source.base), "adapter_name_or_path": ()}
    if dtype is not None:
        update |= {"infer_dtype": str(dtype).removeprefix("torch."), "quantization_bit": None}
    tuning = source.settings.tuning.model_copy(update={"additional_target": _saved_whole(source)})
    return source.settings.model_copy(update={"model": model.model_copy(update=update), "tuning": tuning})


def _saved_whole(source: ModelSource) -> tuple[str, ...]:
    """Modules that the adapters hold whole: such cannot be put in the place of packed ones."""
    configs = [read_json(adapter / ADAPTER_CONFIG) for adapter in source.adapters]
    return tuple(name for config in configs for name in config.get("modules_to_save") or ())
