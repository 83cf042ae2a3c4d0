"""Read a model: which class, what number format, which attention, and whether everything in it was really read.

The class follows from transformers' own tables, to which `families` adds ours; no architecture is named here. Code from
a model's folder is never run. What trains afterwards is decided in `tuning`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import __version__ as transformers_version

from tunesmith import extras, log
from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.config.settings import Settings
from tunesmith.errors import MissingExtraError, ModelError, UsageError
from tunesmith.models.adapters.targets import projector_in_full
from tunesmith.models.device import loading_device
from tunesmith.models.families.native import warn_of_old_release
from tunesmith.models.families.table import find_family
from tunesmith.models.files.locate import locate
from tunesmith.models.files.score_weight import read_score_weight
from tunesmith.models.files.weight_files import check_config, check_weights, weight_files
from tunesmith.models.parts import find_parts
from tunesmith.models.precision import choose_precision, loading_dtype
from tunesmith.models.pth.start import start_projector
from tunesmith.models.quantization import keep_trainable_after_evaluation, quantization_config, whole_modules
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.score_head import put_score_head, weights_of_heads
from tunesmith.models.score_start import start_score_head
from tunesmith.models.vocabulary import fit_embeddings

_NUM_NAMED_KEYS = 5


def load_model(settings: Settings, *, trains: bool) -> PreTrainedModel:
    """The model of `model_name_or_path` on this process's device, in training or evaluation mode.

    Its weights are in the format `precision` says for `trains` (see there), quantised where asked for, with the
    vocabulary grown where `resize_vocab` asks for it. No parameter is frozen yet: `apply_tuning` does that.
    Raises ModelError for folders that cannot be read in full, UsageError for settings that do not fit the model.
    """
    name = require_name(settings.model)
    folder = locate(name, settings.model)
    config = load_config(folder)
    settle_downsampling(config, settings.media)
    device = loading_device(use_cpu=settings.training.use_cpu)
    if trains and settings.model.train_from_scratch:
        model = _build_random(config, settings, device)
    else:
        model = _read_weights(folder, config, settings, device=device, trains=trains)
    # What an adapter records as its base: the name the user gave, not a place in a download cache.
    model.name_or_path = str(folder) if Path(name).expanduser().is_dir() else name
    fit_embeddings(model, folder, settings.model)
    if trains:
        start_projector(model, settings)
        start_score_head(model, folder, settings)
    keep_trainable_after_evaluation(model)
    model.train(trains)
    return model


def require_name(model: ModelSettings) -> str:
    """`model_name_or_path`. Raises UsageError if it is not set."""
    if model.model_name_or_path is None:
        raise UsageError("model_name_or_path is not set; give a folder or a repository name on the hub")
    return model.model_name_or_path


def load_config(folder: Path) -> PretrainedConfig:
    """The config of the model that trains. Raises ModelError if transformers has no class of its own for it.

    Of models made of several (Qwen2.5-Omni: one that thinks, one that talks) it is the one that answers in text.
    """
    content = check_config(folder)
    model_type = content.get("model_type")
    family = find_family(model_type)
    if family is None and model_type not in CONFIG_MAPPING:
        raise ModelError(_no_native_class(folder, model_type, needs_code="auto_map" in content))
    warn_of_old_release(model_type)
    try:
        with quiet_transformers():
            config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if family is not None:
                family.complete(config, folder)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be understood: {error}") from error
    config = _that_answers(config)
    model_class_of(config, folder)
    return config


def settle_downsampling(config: PretrainedConfig, media: MediaSettings) -> None:
    """Let a model that can merge its patches in several ways do it as the settings say; its processor is told too."""
    if media.downsample_mode is not None and hasattr(config, "downsample_mode"):
        config.downsample_mode = media.downsample_mode


def is_multimodal(config: PretrainedConfig) -> bool:
    """Whether transformers lists the model as one that reads images or sound beside text."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING


def _that_answers(config: PretrainedConfig) -> PretrainedConfig:
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return config
    inner: list[PretrainedConfig] = [getattr(config, name) for name in config.sub_configs]
    return next((part for part in inner if type(part) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING), config)


def _no_native_class(folder: Path, model_type: object, *, needs_code: bool) -> str:
    if needs_code:
        return (
            f"{folder} needs the Python code in its folder (model type {model_type!r}), which Tunesmith does not run; "
            "use a version of the model that transformers has natively (often named …-hf)"
        )
    return (
        f"{folder} is of model type {model_type!r}, which transformers {transformers_version} does not know; a newer "
        "transformers may: pip install -U transformers"
    )


def model_class_of(config: PretrainedConfig, folder: Path) -> type[PreTrainedModel]:
    """The class for a config, the one that reads media first where a type has both."""
    tables: tuple[Any, ...] = (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MULTIMODAL_LM_MAPPING,
        MODEL_FOR_CAUSAL_LM_MAPPING,
    )
    for table in tables:
        if type(config) in table:
            found: type[PreTrainedModel] = table[type(config)]
            return found
    raise ModelError(
        f"{folder} is of model type {config.model_type!r}, which is neither a causal language model nor one "
        "that reads images or sound beside text in transformers"
    )


def attention_implementation(model: ModelSettings) -> str | None:
    """transformers' name for `flash_attn`; None leaves it to the model (SDPA where it can).

    Raises MissingExtraError for FlashAttention that is not installed.
    """
    needed = {"fa2": ("flash_attention_2", "flash_attn"), "fa3": ("flash_attention_3", "flash_attn_interface")}
    if model.flash_attn in needed:
        name, package = needed[model.flash_attn]
        if not extras.is_installed(package):
            raise MissingExtraError(
                f"flash_attn: {model.flash_attn} needs the package {package}, which is not installed: "
                "pip install flash-attn --no-build-isolation, or set flash_attn: auto"
            )
        return name
    return {"auto": None, "sdpa": "sdpa"}.get(model.flash_attn, "eager")


def _build_random(config: PretrainedConfig, settings: Settings, device: torch.device) -> PreTrainedModel:
    if settings.model.quantization_bit is not None:
        raise UsageError("train_from_scratch and quantization_bit exclude each other: random weights must train")
    model_class: Any = model_class_of(config, Path(require_name(settings.model)))
    torch.manual_seed(settings.training.seed)
    with quiet_transformers():
        model: PreTrainedModel = model_class._from_config(
            config,
            dtype=loading_dtype(settings, trains=True),
            attn_implementation=attention_implementation(settings.model),
        )
    nn.Module.to(model, device)
    return model


def _read_weights(
    folder: Path, config: PretrainedConfig, settings: Settings, *, device: torch.device, trains: bool
) -> PreTrainedModel:
    check_weights(folder)
    dtype = loading_dtype(settings, trains=trains)
    compute = choose_precision(settings).compute if trains else (dtype or torch.bfloat16)
    return read_pretrained(
        folder,
        config,
        dtype=dtype,
        device=device,
        attn_implementation=attention_implementation(settings.model),
        quantization_config=quantization_config(
            settings.model, compute=compute, whole=_kept_whole(folder, config, settings)
        ),
    )


def _kept_whole(folder: Path, config: PretrainedConfig, settings: Settings) -> list[str] | None:
    """What must not be packed, since it trains in full beside an adapter; None where nothing does."""
    tuning = settings.tuning
    has_any = bool(tuning.additional_target) or not tuning.freeze_multi_modal_projector
    if settings.model.quantization_bit is None or tuning.finetuning_type != "lora" or not has_any:
        return None
    model_class: Any = model_class_of(config, folder)
    with quiet_transformers(), torch.device("meta"):
        model = model_class._from_config(config)
    return whole_modules(model, [*tuning.additional_target, *projector_in_full(model, find_parts(model), tuning)])


def read_pretrained(
    folder: Path, config: PretrainedConfig, *, dtype: torch.dtype | None, device: torch.device | str, **options: Any
) -> PreTrainedModel:
    """Weights from `folder` into the model of `config`; `dtype` None keeps the checkpoint's format.

    `options` are from_pretrained's own (attention, quantisation). Raises ModelError listing the weights that the
    folder lacks or that have another shape; warns of those the model has no place for.
    """
    num_bytes = sum(file.stat().st_size for file in weight_files(folder))
    given = {name: value for name, value in options.items() if value is not None}
    model_class: Any = model_class_of(config, folder)
    try:
        with quiet_transformers(num_bytes=num_bytes):
            model, report = model_class.from_pretrained(
                folder,
                config=config,
                dtype=dtype or "auto",
                device_map={"": device},
                output_loading_info=True,
                **given,
            )
    except (RuntimeError, ValueError, OSError, KeyError, EOFError) as error:
        raise _explain(error, folder) from error
    assert isinstance(model, PreTrainedModel)
    score = read_score_weight(folder)
    _judge(report, folder, apart=weights_of_heads(model) if score is not None else frozenset())
    if score is not None:
        put_score_head(model, score)
    return model


def _explain(error: Exception, folder: Path) -> ModelError | UsageError:
    text = str(error)
    if "attention" in text.lower() and "support" in text.lower():
        return UsageError(f"this model cannot use the attention that flash_attn asks for: {text}; set flash_attn: auto")
    if isinstance(error, torch.OutOfMemoryError):
        return ModelError(f"{folder} does not fit into memory; use a smaller model, bf16: true or quantization_bit: 4")
    return ModelError(f"the weights of {folder} cannot be loaded: {text}")


def _judge(report: dict[str, Any], folder: Path, *, apart: frozenset[str]) -> None:
    """apart: names that say nothing of whether the folder is whole."""
    absent = sorted(set(report["missing_keys"]) - apart)
    if absent:
        raise ModelError(
            f"{folder} lacks {len(absent)} of the model's weights ({_name_some(absent)}), which would stay random; the "
            "folder's config.json and weight files do not belong together, or a file is missing: download it again"
        )
    unexpected = sorted(set(report["unexpected_keys"]) - apart)
    if unexpected:
        log.warning(f"{folder} has {len(unexpected)} weights that the model does not use: {_name_some(unexpected)}")


def _name_some(keys: list[str]) -> str:
    return ", ".join(keys[:_NUM_NAMED_KEYS]) + (", …" if len(keys) > _NUM_NAMED_KEYS else "")
