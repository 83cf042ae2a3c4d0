"""XTuner's projector, from a checkpoint or a folder, and into a LLaVA of transformers.

XTuner's is a sequence Linear, GELU, Linear (model.0, model.2); transformers' has the same two matrices by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from tunesmith.errors import ModelError, UsageError
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.files.xtuner_llava import PROJECTOR, is_llava_folder
from tunesmith.models.pth.checkpoint import read_checkpoint
from tunesmith.models.pth.pickles import load_pickle

MODULE = "multi_modal_projector"
"""Its name in transformers' LLaVA."""

_NATIVE = {
    "model.0.weight": "linear_1.weight",
    "model.0.bias": "linear_1.bias",
    "model.2.weight": "linear_2.weight",
    "model.2.bias": "linear_2.bias",
}


def read_projector(path: Path) -> dict[str, torch.Tensor]:
    """The projector's weights under transformers' names: of a `.pth`, a `projector/` folder, or the folder around it.

    Raises ModelError for another layout, and for checkpoints that hold more than a projector, of which the rest would
    be lost.
    """
    if is_llava_folder(path):
        path = path / PROJECTOR
    if (path / "config.json").is_file():
        return to_native(_read_folder(path), path)
    saved = read_checkpoint(path)
    if saved.language_model or saved.vision_tower:
        other = "the language model" if saved.language_model else "the vision tower"
        raise ModelError(
            f"{path} holds weights of {other} too, not only a projector; make a model of it, and start from that: "
            f"tunesmith convert pth_to_hf {path} JOINED --language_model A --vision_tower B"
        )
    return to_native(saved.projector, path)


def to_native(weights: Mapping[str, torch.Tensor], source: Path) -> dict[str, torch.Tensor]:
    """XTuner's names to transformers'. Raises ModelError for a projector that is not two linear layers."""
    if set(weights) != set(_NATIVE):
        found = ", ".join(sorted(weights)[:8]) or "none"
        raise ModelError(
            f"{source} has the projector weights {found}; expected {', '.join(_NATIVE)}, two linear layers with a GELU "
            "between them (projector_depth=2), as transformers' LLaVA has"
        )
    return {native: weights[name] for name, native in _NATIVE.items()}


def apply_projector(model: nn.Module, weights: Mapping[str, torch.Tensor], source: Path) -> str:
    """Copy the weights into `model`'s projector; its dotted name.

    Raises UsageError where the model has none of transformers' LLaVA, ModelError where the shapes differ.
    """
    name, projector = _find_projector(model)
    own = dict(projector.named_parameters())
    for key, tensor in weights.items():
        if own[key].shape != tensor.shape:
            raise ModelError(
                f"the projector in {source} does not fit the model: {key} is {tuple(tensor.shape)}, the model's is "
                f"{tuple(own[key].shape)}; it was trained with another language model or vision tower"
            )
    with torch.no_grad():
        for key, tensor in weights.items():
            own[key].copy_(tensor)
    return name


def _find_projector(model: nn.Module) -> tuple[str, nn.Module]:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == MODULE and {key for key, _ in module.named_parameters()} == set(_NATIVE.values()):
            return name, module
    raise UsageError(
        "pretrained_pth: the model has no projector of transformers' LLaVA (two linear layers with biases); give a "
        "LLaVA folder, such as `tunesmith compose llava` writes, as model_name_or_path"
    )


def _read_folder(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        weights |= load_file(file) if file.suffix == ".safetensors" else load_pickle(file)
    return weights
