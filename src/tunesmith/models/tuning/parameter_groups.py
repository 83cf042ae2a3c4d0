"""The optimiser's parameter groups: a learning rate per part of the model, and what weight decay leaves alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from tunesmith.config.settings import Settings
from tunesmith.models.parts import Part, find_parts


def parameter_groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """torch.optim's groups of every trainable parameter, with `params`, `lr`, `weight_decay` and a `name`.

    - Vision tower and projector take `vision_learning_rate` and `projector_learning_rate` where these are set.
    - LoRA+ (arXiv 2402.12354): B matrices take `loraplus_lr_ratio` times the rate, adapters of embeddings
      `loraplus_lr_embedding`.
    - Biases and norms, the parameters with fewer than two dimensions, do not decay.
    - `is_main` says whether a group takes `learning_rate` itself, which is the rate that a run shows.

    Order of groups and of parameters in them follows the model, so an optimiser's state can be matched on resuming.
    """
    parts = find_parts(model)
    groups: dict[tuple[Part, float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        # a weight that ZeRO-3 has cut is flat and says what it was
        part, decays = parts.part_of(name), len(vars(parameter).get("ds_shape", parameter.shape)) >= 2
        rate = _learning_rate(name, part, settings)
        decay = settings.training.weight_decay if decays else 0.0
        empty = {
            "params": [],
            "lr": rate,
            "weight_decay": decay,
            "name": _describe(part, decays=decays),
            "is_main": rate == settings.training.learning_rate,
        }
        groups.setdefault((part, rate, decays), empty)["params"].append(parameter)
    return list(groups.values())


def _learning_rate(name: str, part: Part, settings: Settings) -> float:
    tuning = settings.tuning
    ratio = tuning.loraplus_lr_ratio
    if ratio is not None and ".lora_embedding_" in name:
        return tuning.loraplus_lr_embedding
    own = {Part.VISION_TOWER: tuning.vision_learning_rate, Part.PROJECTOR: tuning.projector_learning_rate}.get(part)
    rate = settings.training.learning_rate if own is None else own
    return rate * ratio if ratio is not None and ".lora_B." in name else rate


def _describe(part: Part, *, decays: bool) -> str:
    return f"{part}, {'weights' if decays else 'biases and norms'}"
