"""What the log-probabilities of a row by a reference depend on besides the row, as one short name.

Weights are told apart by their files' places, sizes and times of change: nothing of them is read. Knows no models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tunesmith.config.settings import Settings
from tunesmith.models.adapters.attach import adapter_folders
from tunesmith.models.files.locate import locate
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.load import require_name
from tunesmith.models.precision import choose_precision
from tunesmith.train.reference.choose import Kind
from tunesmith.train.reference.other_model import reference_settings

_WITHOUT_EFFECT = {"hf_hub_token", "ms_hub_token", "cache_dir", "print_param_status", "disable_gradient_checkpointing"}
_OF_TUNING = {"finetuning_type", "freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"}
_OF_TUNING |= {"freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model", "create_new_adapter"}
"""What decides the formats of the weights that a copy is made of."""
_LIBRARIES = ("torch", "transformers", "peft")
_PACKAGES = ("tunesmith.train.objectives", "tunesmith.train.reference")


def reference_key(settings: Settings, kind: Kind, *, encoder_key: str, device: torch.device) -> str:
    """32 hex digits: the same where the same row would get the same values, but for rounding.

    encoder_key: what a row's ids and labels depend on, our code for models included
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(settings, kind, device):
        digest.update(len(part).to_bytes(8, "little") + part)
    digest.update(encoder_key.encode())
    return digest.hexdigest()


def reference_files(settings: Settings) -> list[Path]:
    """Config, weights, adapters and a projector put in of the model of these settings."""
    base = locate(require_name(settings.model), settings.model)
    weights = [] if settings.model.train_from_scratch else weight_files(base)
    adapters = [file for folder in adapter_folders(settings.model) for file in sorted(folder.glob("adapter_*"))]
    return [base / "config.json", *weights, *adapters, *_projector_files(settings)]


def _projector_files(settings: Settings) -> list[Path]:
    """What pretrained_pth names: a file, or all files of a folder."""
    if settings.model.pretrained_pth is None:
        return []
    place = Path(settings.model.pretrained_pth).expanduser()
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def _parts(settings: Settings, kind: Kind, device: torch.device) -> Iterator[bytes]:
    own = reference_settings(settings) if kind == "other model" else settings
    yield _as_bytes([_stamp(file) for file in reference_files(own)])
    yield _as_bytes(own.model.model_dump(mode="json", exclude=_WITHOUT_EFFECT))
    yield _as_bytes([kind, own.training.stage, repr(choose_precision(settings))])
    yield _as_bytes(own.tuning.model_dump(mode="json", include=_OF_TUNING) if kind == "frozen copy" else None)
    if own.model.train_from_scratch or own.model.resize_vocab:
        yield _as_bytes(settings.training.seed)
    yield _as_bytes(torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)
    yield _as_bytes({name: version(name) for name in _LIBRARIES})
    yield _code()


def _stamp(file: Path) -> tuple[str, int, int]:
    state = file.stat()
    return str(file.resolve()), state.st_size, state.st_mtime_ns


def _as_bytes(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=repr).encode()


@cache
def _code() -> bytes:
    """The digest of the code that turns hidden states into values."""
    digest = hashlib.blake2b()
    for package in _PACKAGES:
        files: list[Any] = sorted(resources.files(package).iterdir(), key=lambda file: str(file.name))
        for file in files:
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.digest()
