"""Which layers get an adapter: `lora_target` resolved to the dotted names of modules.

- `all`: every linear layer of the parts that are not frozen, without the output head and the routing of experts;
- names, comma-separated or a list: layers whose dotted name ends in one of them;
- a regular expression: layers whose whole dotted name it matches, as PEFT does.

Frozen parts win over all three: nothing inside them gets an adapter.
"""

from __future__ import annotations

import re

from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith import log
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.freezing import freeze_keys, frozen_parts
from tunesmith.models.parts import ModelParts, Part

_LINEAR = (nn.Linear, Conv1D)
_ADAPTABLE = (*_LINEAR, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PLAIN_NAMES = re.compile(r"[\w.-]+(\s*,\s*[\w.-]+)*")


def resolve_targets(model: nn.Module, parts: ModelParts, tuning: TuningSettings) -> list[str]:
    """Dotted names of the layers that get an adapter.

    Raises UsageError, listing the names there are, if none match.
    """
    matching = _matching(model, parts, tuning.lora_target)
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
    return targets


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
        if isinstance(module, _LINEAR) and parts.part_of(name) != Part.HEAD and not _routes_experts(name, modules)
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
