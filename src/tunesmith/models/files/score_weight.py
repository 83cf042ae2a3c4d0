"""The weight of a reward model's score head as it lies on disk: ours, transformers', TRL's and LLaMA-Factory's.

The first three keep it among the model's weights; LLaMA-Factory has a file of its own, with a bias. Knows nothing of
models.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tunesmith import log
from tunesmith.errors import ModelError
from tunesmith.models.files.trained import ADAPTER_CONFIG
from tunesmith.models.files.weight_files import check_weight_file, read_json, stored_names

_NAME = "score"
_WEIGHT = re.compile(rf"(\w+\.)?{_NAME}\.weight")
"""A part of a larger model is stored under that part's name (Qwen2.5-Omni: `thinker.score.weight`)."""

_VALUE_HEADS = ("value_head.safetensors", "value_head.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_VALUE_WEIGHT, _VALUE_BIAS = "v_head.summary.weight", "v_head.summary.bias"


def gives_scores(folder: Path) -> bool:
    """Whether `folder`, of a model or an adapter, holds a reward model; looks at names alone."""
    if any((folder / name).is_file() for name in _VALUE_HEADS):
        return True
    if (folder / ADAPTER_CONFIG).is_file():
        return _NAME in (read_json(folder / ADAPTER_CONFIG).get("modules_to_save") or ())
    return _stored_name(folder) is not None


def read_score_weight(folder: Path) -> Tensor | None:
    """(1, H), None where the model in `folder` has no score head.

    Raises ModelError for a head of several scores, and for a damaged file.
    """
    name = _stored_name(folder)
    weight = read_value_head(folder) if name is None else _read(_file_of(folder, name), name)
    if weight is not None and weight.shape[0] != 1:
        raise ModelError(
            f"{folder} gives {weight.shape[0]} scores for a text, as classifiers do; a reward model gives one: choose "
            "another model, or start from the language model below it"
        )
    return weight


def read_value_head(folder: Path) -> Tensor | None:
    """(1, H) of the head that LLaMA-Factory writes beside a model or adapter; its bias is the same for all answers."""
    file = next((folder / name for name in _VALUE_HEADS if (folder / name).is_file()), None)
    if file is None:
        return None
    tensors = _tensors(file)
    if _VALUE_WEIGHT not in tensors:
        raise ModelError(f"{file} has no {_VALUE_WEIGHT}: it is no value head of LLaMA-Factory; copy it again")
    bias = tensors[_VALUE_BIAS].item() if _VALUE_BIAS in tensors else 0.0
    if bias:
        log.note_once(f"{file} adds {bias:.4g} to every score, which changes no order and is left out")
    return tensors[_VALUE_WEIGHT]


def _stored_name(folder: Path) -> str | None:
    return next((name for name in stored_names(folder) if _WEIGHT.fullmatch(name)), None)


def _file_of(folder: Path, name: str) -> Path:
    for index in _INDEXES:
        if (folder / index).is_file():
            return folder / str(read_json(folder / index)["weight_map"][name])
    return folder / "model.safetensors"


def _read(file: Path, name: str) -> Tensor:
    if file.suffix != ".safetensors":
        return _tensors(file)[name]
    check_weight_file(file)
    with safe_open(file, framework="pt") as opened:
        found: Tensor = opened.get_tensor(name)
    return found


def _tensors(file: Path) -> dict[str, Tensor]:
    check_weight_file(file)
    if file.suffix == ".safetensors":
        return load_file(file)
    found: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return found
