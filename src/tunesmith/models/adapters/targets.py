"""Which layers get an adapter: `lora_target` resolved to the dotted names of modules.

- `all`: every linear layer of language model and tower that is not frozen, without the routing of experts;
- names, comma-separated or a list: layers whose dotted name ends in one of them;
- a regular expression: layers whose whole dotted name it matches, as PEFT does.

Frozen parts win over all three: nothing inside them gets an adapter, and nothing inside what trains in full beside it
(`additional_target`). An open projector trains in full too, as it may start from nothing, unless names or expression
reach into it. Adapters in the vision tower may have a rank and an alpha of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith import log
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.freezing import freeze_keys, frozen_parts
from tunesmith.models.parts import ModelParts, Part, is_inside

_LINEAR = (nn.Linear, Conv1D)
_ADAPTABLE = (*_LINEAR, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TAKEN_BY_ALL = (Part.LANGUAGE_MODEL, Part.VISION_TOWER)
_PLAIN_NAMES = re.compile(r"[\w.-]+(\s*,\s*[\w.-]+)*")


def resolve_targets(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> list[str]:
    """Dotted names of the layers that get an adapter.

    Raises UsageError, listing the names there are, if none match.
    """
    matching = [
        name for name in _matching(model, parts, tuning.lora_target) if not _lies_in(name, tuning.additional_target)
    ]
    frozen = frozen_parts(tuning)
    shut = frozenset(parts.part_of(name) for name in matching) & frozen
    targets = [name for name in matching if parts.part_of(name) not in frozen]
    if not targets:
        raise UsageError(_nothing_matches(model, tuning, shut))
    if shut and not _is_all(tuning.lora_target):
        log.info(
            f"lora_target: {len(matching) - len(targets)} of {len(matching)} matching layers lie in frozen parts "
            f"({freeze_keys(shut)}) and get no adapter"
        )
    if not tuning.freeze_vision_tower and parts.is_multimodal and not _reaches_tower(targets, parts):
        log.info(
            f"freeze_vision_tower: false, but lora_target: {_shown(tuning.lora_target)} matches no layer of the vision "
            "tower, which stays as it is"
        )
    return targets


def _reaches_tower(targets: list[str], parts: ModelParts) -> bool:
    return any(parts.part_of(name) == Part.VISION_TOWER for name in targets)


@dataclass(frozen=True, slots=True)
class TowerLora:
    """How adapters in the vision tower differ from the others: PEFT's patterns, empty where they do not.

    rank, alpha: by the name of a layer, as a regular expression
    """

    rank: dict[str, int] = field(default_factory=dict)
    alpha: dict[str, int] = field(default_factory=dict)


def tower_lora(targets: list[str], parts: ModelParts, tuning: TuningSettings) -> TowerLora:
    """`vision_lora_rank` and `vision_lora_alpha` for those of `targets` that lie in the vision tower.

    Raises UsageError if either is set and none do.
    """
    if tuning.vision_lora_rank is None and tuning.vision_lora_alpha is None:
        return TowerLora()
    names = [re.escape(name) for name in targets if parts.part_of(name) == Part.VISION_TOWER]
    if not names:
        raise UsageError(
            "vision_lora_rank and vision_lora_alpha: no layer of a vision tower gets an adapter; set "
            "freeze_vision_tower: false, or leave them out"
        )
    rank = tuning.vision_lora_rank or tuning.lora_rank
    alpha = whole_alpha("vision_lora_alpha", tuning.vision_lora_alpha, rank=rank)
    return TowerLora(dict.fromkeys(names, rank), dict.fromkeys(names, alpha))


def whole_alpha(key: str, given: float | None, *, rank: int) -> int:
    """The alpha that setting `key` says, twice the rank if it is empty. Raises UsageError for fractions."""
    alpha = given or 2 * rank
    if alpha != int(alpha):
        raise UsageError(f"{key}: {alpha} is not a whole number")
    return int(alpha)


def _lies_in(name: str, modules: tuple[str, ...]) -> bool:
    """Whether `name`, or a module around it, ends in one of the names of `modules`."""
    steps = name.split(".")
    return any(_ends_in(".".join(steps[:depth]), list(modules)) for depth in range(1, len(steps) + 1))


def projector_in_full(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> list[str]:
    """Dotted names of the projector's modules that train in full beside adapters; none where it is frozen.

    None either where `lora_target` names layers of it, and of what `additional_target` names already.
    """
    reached = any(parts.part_of(name) == Part.PROJECTOR for name in _matching(model, parts, tuning.lora_target))
    if tuning.freeze_multi_modal_projector or reached:
        return []
    modules = dict(model.named_modules())
    # PEFT replaces modules, which it cannot do to a list of them; a bare vector beside them stays as it is.
    whole = [inner for name in parts.projector if name in modules for inner in _callable_modules(name, modules[name])]
    named = [name for name in modules if _ends_in(name, list(tuning.additional_target))]
    return [name for name in whole if not any(is_inside(name, other) or is_inside(other, name) for other in named)]


def _callable_modules(name: str, module: nn.Module) -> list[str]:
    if not isinstance(module, nn.ModuleList):
        return [name]
    return [inner for index, child in enumerate(module) for inner in _callable_modules(f"{name}.{index}", child)]


def compact_targets(model: nn.Module, targets: list[str]) -> list[str]:
    """Short names (`q_proj`) that mean exactly `targets` and nothing else in the model; else `targets` themselves."""
    short = sorted({name.rpartition(".")[2] for name in targets})
    meant = {name for name, module in model.named_modules() if isinstance(module, _ADAPTABLE) and _ends_in(name, short)}
    return short if meant == set(targets) else targets


def _matching(model: nn.Module, parts: ModelParts, target: str | tuple[str, ...]) -> list[str]:
    if _is_all(target):
        return _linear_layers(model, parts)
    adaptable = [name for name, module in model.named_modules() if isinstance(module, _ADAPTABLE)]
    if not isinstance(target, str):
        return [name for name in adaptable if _ends_in(name, list(target))]
    if _PLAIN_NAMES.fullmatch(target):
        names = [name.strip() for name in target.split(",")]
        by_name = [name for name in adaptable if _ends_in(name, names)]
        if by_name:
            return by_name
    try:
        pattern = re.compile(target)
    except re.error as error:
        raise UsageError(f"lora_target: {target!r} is not a regular expression: {error}") from None
    return [name for name in adaptable if pattern.fullmatch(name)]


def _is_all(target: str | tuple[str, ...]) -> bool:
    return target == "all" or target == ("all",)


def _ends_in(name: str, wanted: list[str]) -> bool:
    return any(name == end or name.endswith("." + end) for end in wanted)


def _linear_layers(model: nn.Module, parts: ModelParts) -> list[str]:
    modules = dict(model.named_modules())
    return [
        name
        for name, module in modules.items()
        if isinstance(module, _LINEAR) and parts.part_of(name) in _TAKEN_BY_ALL and not _routes_experts(name, modules)
    ]


def _routes_experts(name: str, modules: dict[str, nn.Module]) -> bool:
    """A linear layer that stands directly beside `experts` decides between them and gets no adapter."""
    parent = modules[name.rpartition(".")[0]]
    return any(child == "experts" for child, _ in parent.named_children())


def _nothing_matches(model: nn.Module, tuning: TuningSettings, shut: frozenset[Part]) -> str:
    if shut:
        return (
            f"lora_target: {_shown(tuning.lora_target)} matches only layers of frozen parts; set one of "
            f"{freeze_keys(shut).replace('true', 'false')}"
        )
    leaves = {_short_name(name) for name, module in model.named_modules() if isinstance(module, _LINEAR)}
    return (
        f"lora_target: {_shown(tuning.lora_target)} matches no layer of the model; its linear layers are "
        f"{', '.join(sorted(leaves))}; all takes every one but the output head"
    )


def _short_name(name: str) -> str:
    """The last step of a dotted name, the last two where that is a number."""
    steps = name.split(".")
    return ".".join(steps[-2:]) if steps[-1].isdigit() else steps[-1]


def _shown(target: str | tuple[str, ...]) -> str:
    return target if isinstance(target, str) else ",".join(target)
