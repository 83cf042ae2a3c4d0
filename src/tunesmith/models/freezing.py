"""Which weights of the model itself train, for `finetuning_type: full` and `freeze`.

Marks parameters by `requires_grad`; adapters are `adapters`' matter.
"""

from __future__ import annotations

from torch import nn

from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.parts import ModelParts, Part, is_inside

_FREEZE_KEY = {
    Part.VISION_TOWER: "freeze_vision_tower",
    Part.PROJECTOR: "freeze_multi_modal_projector",
    Part.LANGUAGE_MODEL: "freeze_language_model",
    Part.HEAD: "freeze_language_model",
}


def frozen_parts(tuning: TuningSettings) -> frozenset[Part]:
    """The parts that stay fixed whatever else is asked for. The output head goes with the language model."""
    frozen = set()
    if tuning.freeze_vision_tower:
        frozen.add(Part.VISION_TOWER)
    if tuning.freeze_multi_modal_projector:
        frozen.add(Part.PROJECTOR)
    if tuning.freeze_language_model:
        frozen |= {Part.LANGUAGE_MODEL, Part.HEAD}
    return frozenset(frozen)


def freeze_keys(parts: frozenset[Part]) -> str:
    """The settings that froze these parts, for messages."""
    return ", ".join(sorted({f"{_FREEZE_KEY[part]}: true" for part in parts}))


def train_parts(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> None:
    """full: everything trains but the frozen parts."""
    frozen = frozen_parts(tuning)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parts.part_of(name) not in frozen)


def train_layers(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> None:
    """freeze: only the last (or, negative, the first) layers of the language model, and extra modules, train.

    Raises UsageError for module names that do not exist, and for extra modules in a part that is frozen.
    """
    chosen = _chosen_in_layers(model, parts, tuning) | _chosen_extra(model, parts, tuning)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(is_inside(name, module) for module in chosen))


def _chosen_in_layers(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> set[str]:
    if tuning.freeze_language_model:
        return set()
    layers = model.get_submodule(parts.layers)
    assert isinstance(layers, nn.ModuleList)
    count = tuning.freeze_trainable_layers
    if count == 0 or abs(count) > len(layers):
        raise UsageError(
            f"freeze_trainable_layers: {count} does not fit a model of {len(layers)} layers; give 1 to {len(layers)}, "
            "or the negative for the first layers"
        )
    numbers = range(len(layers))[-count:] if count > 0 else range(-count)
    return {f"{parts.layers}.{number}{suffix}" for number in numbers for suffix in _layer_suffixes(layers, tuning)}


def _layer_suffixes(layers: nn.ModuleList, tuning: TuningSettings) -> list[str]:
    if "all" in tuning.freeze_trainable_modules:
        return [""]
    existing = {name for layer in layers for name, _ in layer.named_modules() if name}
    absent = [name for name in tuning.freeze_trainable_modules if name not in existing]
    if absent:
        direct = sorted({name for name in existing if "." not in name})
        raise UsageError(
            f"freeze_trainable_modules: {', '.join(absent)} is not in this model's layers; they have "
            f"{', '.join(direct)}"
        )
    return [f".{name}" for name in tuning.freeze_trainable_modules]


def _chosen_extra(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> set[str]:
    """Modules outside the layers whose dotted name ends in one of freeze_extra_modules."""
    outside = [name for name, _ in model.named_modules() if name and not is_inside(name, parts.layers)]
    frozen = frozen_parts(tuning)
    chosen: set[str] = set()
    for wanted in tuning.freeze_extra_modules:
        found = {name for name in outside if name == wanted or name.endswith("." + wanted)}
        if not found:
            leaves = sorted({name.rpartition(".")[2] for name in outside if not name.rpartition(".")[2].isdigit()})
            raise UsageError(f"freeze_extra_modules: there is no module {wanted!r}; there are {', '.join(leaves)}")
        open_ = {name for name in found if parts.part_of(name) not in frozen}
        if not open_:
            shut = frozenset(parts.part_of(name) for name in found)
            raise UsageError(f"freeze_extra_modules: {wanted} lies in a frozen part ({freeze_keys(shut)})")
        chosen |= open_
    return chosen
