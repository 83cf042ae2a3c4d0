"""Any folder with a trained thing in it as a model that answers: a model, an adapter, a run, one of its checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.config.read import load_settings
from tunesmith.config.settings import Settings
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.adapters.attach import attach_adapter, find_adapter, merge_adapters
from tunesmith.models.device import pick_device
from tunesmith.models.files.locate import locate
from tunesmith.models.files.trained import ADAPTER_CONFIG, RUN_SETTINGS, finished_or_latest, holds_adapter, run_of
from tunesmith.models.files.weight_files import check_weights, read_json
from tunesmith.models.load import load_config, read_pretrained, settle_downsampling
from tunesmith.models.preprocessing.processor import read_preprocessor
from tunesmith.models.vocabulary import grow_to_adapter


def load_folder(
    folder: str | Path, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin]:
    """The model in `folder` in evaluation mode, and its processor (its tokenizer, if it reads text only).

    folder: a model, an adapter in PEFT's layout, a Tunesmith run or one of its checkpoints, LLaMA-Factory's
            checkpoint-N, or a repository name on the hub
    dtype:  a torch.dtype or its name; None keeps the checkpoint's
    device: None takes the GPU where there is one

    An adapter is put on the base model that it names, unmerged. Raises ModelError if anything is absent or damaged.
    """
    settings = ModelSettings(model_name_or_path=str(folder))
    place = _trained_in(locate(str(folder), settings))
    model: PreTrainedModel | PeftModel
    wanted = _as_dtype(dtype)
    target = pick_device() if device is None else torch.device(device)
    if holds_adapter(place):
        model, base = _load_with_adapters(place, dtype=wanted, device=target)
    else:
        model, base = _load_plain(place, dtype=wanted, device=target), place
    source = next((home for home in (place, *place.parents[:2]) if _has_tokenizer(home)), base)
    preprocessor = read_preprocessor(source, media=MediaSettings())
    return model.eval(), preprocessor.processor or preprocessor.tokenizer


def _as_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    named = {str(known).removeprefix("torch."): known for known in (torch.float64, torch.float32, torch.float16)}
    named["bfloat16"] = torch.bfloat16
    if dtype not in named:
        raise UsageError(f"dtype {dtype!r} is not one of {', '.join(sorted(named))}")
    return named[dtype]


def _trained_in(folder: Path) -> Path:
    """`folder` itself if it holds a model or adapter, else the last checkpoint of the run in it."""
    found = finished_or_latest(folder)
    if found is None:
        raise ModelError(
            f"{folder} holds neither a model (config.json) nor an adapter ({ADAPTER_CONFIG}) nor checkpoints with one"
        )
    return found


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _load_plain(
    folder: Path, *, dtype: torch.dtype | None, device: torch.device, media: MediaSettings | None = None
) -> PreTrainedModel:
    config = load_config(folder)
    settle_downsampling(config, media or MediaSettings())
    check_weights(folder)
    return read_pretrained(folder, config, dtype=dtype, device=device)


def _load_with_adapters(folder: Path, *, dtype: torch.dtype | None, device: torch.device) -> tuple[PeftModel, Path]:
    """The base with every earlier adapter merged and the one of `folder` attached; and the base's folder."""
    name = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not name:
        raise ModelError(f"{folder / ADAPTER_CONFIG} names no base model: set base_model_name_or_path in it")
    run = _settings_of_run(folder) or Settings()
    settings = run.model
    base = _locate_base(name, folder, settings)
    model = _load_plain(base, dtype=dtype, device=device, media=run.media)
    model.name_or_path = name
    grow_to_adapter(model, folder)
    model = merge_adapters(model, [find_adapter(earlier, settings) for earlier in _earlier_adapters(folder)])
    return attach_adapter(model, folder, trains=False), base


def _locate_base(name: str, folder: Path, settings: ModelSettings) -> Path:
    try:
        return locate(name, settings)
    except ModelError as error:
        raise ModelError(
            f"the base model of the adapter in {folder} cannot be found: {error}. If it was moved, write where it is "
            f"now as base_model_name_or_path into {folder / ADAPTER_CONFIG}"
        ) from error


def _settings_of_run(folder: Path) -> Settings | None:
    run = run_of(folder)
    return load_settings(run / RUN_SETTINGS) if run else None


def _earlier_adapters(folder: Path) -> tuple[str, ...]:
    """Adapters that the run merged into its base before it began."""
    run = run_of(folder)
    if run is None:
        return ()
    settings = load_settings(run / RUN_SETTINGS)
    given = settings.model.adapter_name_or_path
    return given if settings.tuning.create_new_adapter else given[:-1]
