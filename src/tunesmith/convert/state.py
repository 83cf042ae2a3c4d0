"""A training's state as a model folder, whoever wrote it: an engine's parts, or a checkpoint of XTuner's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tunesmith.config.read import load_settings
from tunesmith.config.settings import Settings
from tunesmith.convert.output import check_output
from tunesmith.convert.parts import convert_parts
from tunesmith.convert.pth import convert_pth
from tunesmith.convert.request import PthRequest
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.files.engine_parts import find_parts, holds_zero
from tunesmith.models.files.locate import locate
from tunesmith.models.files.trained import RUN_SETTINGS, run_of
from tunesmith.models.pth.checkpoint import read_checkpoint

_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def convert_state(source: Path, overrides: Sequence[str] = ()) -> str:
    """Write what `source` holds into `export_dir`; what was done, for the user.

    The base is `model_name_or_path`, else that of the run around `source`.
    Raises UsageError where something is missing, ModelError where it does not fit.
    """
    settings = load_settings(_run_settings(source), overrides)
    if settings.export.export_dir is None:
        raise UsageError("export_dir is missing; say where to write, for example export_dir=model")
    output = Path(settings.export.export_dir).expanduser().absolute()
    parts = find_parts(source) if source.is_dir() else None
    if parts is None or (holds_zero(parts) and _is_xtuners(parts)):
        return convert_pth(_request(parts or source, output, settings))
    check_output(output)
    base = settings.model.model_name_or_path
    if base is None:
        raise UsageError(f"{source} does not say which model it is of; give model_name_or_path=FOLDER")
    return convert_parts(
        parts,
        locate(base, settings.model),
        output,
        shard_gb=settings.export.export_size,
        dtype=_FORMATS.get(settings.model.infer_dtype),
    )


def _request(source: Path, output: Path, settings: Settings) -> PthRequest:
    return PthRequest(
        checkpoint=source,
        output=output,
        language_model=settings.model.model_name_or_path,
        shard_gb=settings.export.export_size,
    )


def _is_xtuners(parts: Path) -> bool:
    try:
        read_checkpoint(parts)
    except ModelError:
        return False
    return True


def _run_settings(source: Path) -> Path | None:
    """run.yaml of the run that `source` lies in."""
    run = next((found for place in (source, *source.resolve().parents[:4]) if (found := run_of(place))), None)
    return None if run is None else run / RUN_SETTINGS
