"""What a user means by "this model": a YAML's settings, a run folder, one of its checkpoints, an adapter, a model.

Finds folders and settings; loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import log
from tunesmith.config.read import load_settings
from tunesmith.config.settings import Settings
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.adapters.attach import adapter_folders
from tunesmith.models.files.locate import locate
from tunesmith.models.files.trained import ADAPTER_CONFIG, RUN_SETTINGS, finished_or_latest, holds_adapter, run_of
from tunesmith.models.files.xtuner_llava import refuse_llava_folder


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model to answer or to export.

    settings: how it is loaded and asked (template, precision, sampling); of a run, the run's own
    base:     folder of the model the adapters sit on, or that holds the weights
    adapters: folders, in the order they are put on
    trained:  folder of the run or checkpoint that was asked for, None for a plain model with or without adapters
    origin:   of a model trained in full, the folder it was started from, where that can still be found
    """

    settings: Settings
    base: Path
    adapters: tuple[Path, ...] = ()
    trained: Path | None = None
    origin: Path | None = None

    def __str__(self) -> str:
        return " + ".join(str(folder) for folder in (self.base, *self.adapters))


def find_source(target: Path | None, overrides: Sequence[str] = ()) -> ModelSource:
    """The model that `target` (a YAML file or any folder named above) and `overrides` (`key=value`) mean.

    A YAML with an output_dir that holds a run means the trained model; otherwise its model and adapters. An override
    of adapter_name_or_path always means that adapter.
    Raises UsageError where nothing is named, ModelError where a folder is missing or holds no model.
    """
    if any(_key(override) == "adapter_name_or_path" for override in overrides):
        return _plain_source(load_settings(_settings_file(target), overrides))
    if target is None or not target.is_dir():
        return find_source_of(load_settings(target, overrides))
    return _from_folder(target, overrides)


def find_source_of(settings: Settings) -> ModelSource:
    """The model that the settings of a YAML file mean."""
    output = Path(settings.training.output_dir) if settings.training.output_dir else None
    if output is not None and (output / RUN_SETTINGS).is_file():
        trained = finished_or_latest(output)
        if trained is not None:
            log.info(f"the model trained in {output}")
            return _trained_source(settings, trained)
    if output is not None:
        log.info(f"{output} holds no trained model yet; this is the model it would start from")
    return _plain_source(settings)


def _from_folder(folder: Path, overrides: Sequence[str]) -> ModelSource:
    run = run_of(folder)
    if run is None:
        return _from_lone_folder(folder, overrides)
    settings = load_settings(run / RUN_SETTINGS, overrides)
    trained = finished_or_latest(run) if run == folder else folder
    if trained is None:
        raise ModelError(f"{folder} holds a run that has saved no model or checkpoint yet")
    return _trained_source(settings, trained)


def _from_lone_folder(folder: Path, overrides: Sequence[str]) -> ModelSource:
    if holds_adapter(folder):
        named = f"adapter_name_or_path={folder}"
        given = any(_key(override) == "model_name_or_path" for override in overrides)
        base = [] if given else [f"model_name_or_path={_recorded_base(folder)}"]
        return _plain_source(load_settings(None, [*base, named, *overrides]))
    refuse_llava_folder(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: neither run.yaml, nor adapter_config.json, nor config.json")
    return _plain_source(load_settings(None, [f"model_name_or_path={folder}", *overrides]))


def _plain_source(settings: Settings) -> ModelSource:
    model = settings.model
    if model.model_name_or_path is None:
        raise UsageError("no model is named: give a run folder, a model folder, or set model_name_or_path")
    return ModelSource(settings, _locate_base(settings), _given_adapters(settings))


def _trained_source(settings: Settings, trained: Path) -> ModelSource:
    if not holds_adapter(trained):
        return ModelSource(settings, trained, trained=trained, origin=_locate_origin(settings))
    earlier = _given_adapters(settings)
    if earlier and not settings.tuning.create_new_adapter:
        earlier = earlier[:-1]  # the last one went on training: what was saved replaces it
    return ModelSource(settings, _locate_base(settings), (*earlier, trained), trained=trained)


def _given_adapters(settings: Settings) -> tuple[Path, ...]:
    return tuple(adapter_folders(settings.model))


def _locate_base(settings: Settings) -> Path:
    name = settings.model.model_name_or_path or ""
    try:
        return locate(name, settings.model)
    except ModelError as error:
        raise ModelError(f"the base model cannot be found: {error} (or give model_name_or_path=FOLDER)") from error


def _locate_origin(settings: Settings) -> Path | None:
    try:
        return locate(settings.model.model_name_or_path or "", settings.model)
    except ModelError:
        return None


def _recorded_base(adapter: Path) -> str:
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    base = config.get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{adapter} does not say which model it sits on; give model_name_or_path=FOLDER")
    return str(base)


def _settings_file(target: Path | None) -> Path | None:
    if target is None or not target.is_dir():
        return target
    run = run_of(target)
    if run is None:
        raise UsageError(f"{target} holds no run.yaml; give the base model as model_name_or_path=FOLDER instead")
    return run / RUN_SETTINGS


def _key(override: str) -> str:
    return override.lstrip("-").partition("=")[0].strip()
