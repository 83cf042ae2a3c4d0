"""Which modules of a multimodal model always make the same of the same media, whatever the training does elsewhere.

Towers and projectors in which nothing trains, no adapter lies and nothing is drawn at random. Where only the projector
at a tower's end trains, the layers before it. Knows nothing of runs or batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from tunesmith.models.parts import ModelParts, core_model, find_parts, is_inside

_ADAPTED = (BaseTunerLayer, AuxiliaryTrainingWrapper)


def fixed_parts(model: nn.Module) -> list[str]:
    """Dotted names, in the model without PEFT's wrapper, of the outermost fixed modules; none of them in another.

    A projector beside the towers is one only where all towers are: what reaches it must be fixed too.
    """
    core, parts = core_model(model), find_parts(model)
    towers = [name for tower in parts.vision_tower for name in _fixed_in_tower(core, tower, parts)]
    if any(tower not in towers for tower in parts.vision_tower):
        return towers
    beside = [name for name in parts.projector if not any(is_inside(name, tower) for tower in parts.vision_tower)]
    modules = dict(core.named_modules())
    callable_names = [inner for name in beside if name in modules for inner in _callable(name, modules[name])]
    return [*towers, *(name for name in callable_names if _is_fixed(modules[name]))]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are alike and hold the very same parameters, and buffers of the same values."""
    if one is other:
        return True
    if [type(module) for module in one.modules()] != [type(module) for module in other.modules()]:
        return False
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    if not all(mine is theirs or _is_view_of(mine, theirs) for mine, theirs in pairs):
        return False
    buffers, others = list(one.buffers()), list(other.buffers())
    return len(buffers) == len(others) and all(map(_same_values, buffers, others))


def _fixed_in_tower(model: nn.Module, tower: str, parts: ModelParts) -> Iterator[str]:
    module = model.get_submodule(tower)
    if _is_fixed(module):
        yield tower
        return
    projectors = [name for name in parts.projector if name != tower and is_inside(name, tower)]
    children = [
        inner
        for name, child in module.named_children()
        if not any(is_inside(projector, f"{tower}.{name}") for projector in projectors)
        for inner in _callable(f"{tower}.{name}", child)
    ]
    # A layer behind one that trains would be given something else every time.
    if projectors and all(_is_fixed(model.get_submodule(name)) for name in children) and _bare(module):
        yield from (name for name in children if next(model.get_submodule(name).parameters(), None) is not None)


def _callable(name: str, module: nn.Module) -> list[str]:
    """The module, or the modules in a list, which is never called itself."""
    if not isinstance(module, nn.ModuleList):
        return [name]
    return [inner for index, child in enumerate(module) for inner in _callable(f"{name}.{index}", child)]


def _bare(module: nn.Module) -> bool:
    """Whether a module trains and draws nothing itself, whatever its children do."""
    return not any(parameter.requires_grad for parameter in module.parameters(recurse=False)) and not _draws(module)


def _is_fixed(module: nn.Module) -> bool:
    if any(parameter.requires_grad for parameter in module.parameters()):
        return False
    return not any(_changes(inner) for inner in module.modules())


def _changes(module: nn.Module) -> bool:
    """Adapters, random draws, running statistics, and compiled code, which cannot be put aside for a while."""
    return isinstance(module, (*_ADAPTED, _NormBase)) or _draws(module) or module._compiled_call_impl is not None


def _draws(module: nn.Module) -> bool:
    """Dropout of any kind: as a module, or as a number that the module hands to a function when it trains."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    return any("drop" in name and isinstance(value, float) and value > 0 for name, value in vars(module).items())


def _is_view_of(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same memory, read in the same way."""
    alike = one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
    return alike and one.device == other.device and one.data_ptr() == other.data_ptr() != 0


def _same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and one.device == other.device and torch.equal(one, other))
