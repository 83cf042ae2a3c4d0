"""What a multimodal model consists of: language model, vision tower, projector, output head.

Found by structure, never by a model's name:

- the language model is the innermost module with both the input embedding and the stack of decoder layers;
- towers are the modules beside it that are models of their own (a `PreTrainedModel` with layers);
- projectors are what remains: modules beside language model, towers and head, and, where there are none such, the
  modules behind a tower's stack of layers (Qwen's `visual.merger`);
- the head is the model's output embedding.

Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tunesmith.errors import ModelError

SCORE_HEAD = "score"
"""Name of the layer that a reward model has beside its output head."""


class Part(StrEnum):
    """The parts a parameter can belong to."""

    LANGUAGE_MODEL = "language model"
    VISION_TOWER = "vision tower"
    PROJECTOR = "projector"
    HEAD = "output head"


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Dotted names of the modules that make up each part, as in `model.named_modules()`.

    language_model: one module; "" is the model itself
    layers:         the decoder layers' ModuleList
    vision_tower:   towers, audio towers among them; empty for text models
    projector:      also loose parameters, such as an image's newline vector; may lie inside a tower
    head:           None where the model has no output head of its own
    """

    language_model: str
    layers: str
    vision_tower: tuple[str, ...]
    projector: tuple[str, ...]
    head: str | None

    @property
    def is_multimodal(self) -> bool:
        """Whether the model has a tower."""
        return bool(self.vision_tower)

    def part_of(self, name: str) -> Part:
        """The part of a module or parameter with this dotted name; names inside a PEFT model are understood too."""
        name = plain_name(name)
        if is_inside(name, SCORE_HEAD) or (self.head is not None and is_inside(name, self.head)):
            return Part.HEAD
        if any(is_inside(name, module) for module in self.projector):
            return Part.PROJECTOR
        if any(is_inside(name, module) for module in self.vision_tower):
            return Part.VISION_TOWER
        return Part.LANGUAGE_MODEL


def find_parts(model: nn.Module) -> ModelParts:
    """The parts of a model, PEFT's wrapper looked through. Raises ModelError if it has no stack of decoder layers."""
    core = core_model(model)
    head = _name_of(core, output_embedding(core))
    language_model, layers = _find_language_model(core)
    towers = tuple(_find_towers(core, language_model, head))
    if not towers:
        return ModelParts(language_model, layers, (), (), head)
    known = (language_model, *towers, SCORE_HEAD, *([head] if head else []))
    beside = tuple(_outermost_beside(core, known))
    inside = tuple(name for tower in towers for name in _behind_layers(core, tower)) if not beside else ()
    return ModelParts(language_model, layers, towers, beside + inside, head)


def core_model(model: nn.Module) -> PreTrainedModel:
    """transformers' model inside PEFT's wrapper, or the model itself."""
    core = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(core, PreTrainedModel)
    return core


def input_embedding(model: PreTrainedModel) -> nn.Module:
    """The module that turns ids into vectors; its weight is (vocabulary, hidden)."""
    found: Any = model.get_input_embeddings()
    assert isinstance(found, nn.Module)
    return found


def output_embedding(model: PreTrainedModel) -> nn.Module | None:
    """The module that turns hidden states into logits, by transformers' word for it or else by its shape."""
    named: Any = cast(Any, model).get_output_embeddings()
    if isinstance(named, nn.Module):
        return named
    shape = weight_of(input_embedding(model)).shape
    return next(
        (found for found in model.modules() if isinstance(found, nn.Linear) and found.weight.shape == shape), None
    )


def weight_of(module: nn.Module) -> torch.Tensor:
    """The weight of an embedding or a linear layer."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def plain_name(name: str) -> str:
    """A name as it was before PEFT wrapped the model."""
    return name.removeprefix("base_model.model.")


def is_inside(name: str, module: str) -> bool:
    """Whether the dotted `name` is `module` or lies in it; "" holds everything."""
    return module == "" or name == module or name.startswith(module + ".")


def _name_of(model: nn.Module, wanted: nn.Module | None) -> str | None:
    return next((name for name, module in model.named_modules() if module is wanted), None)


def _find_language_model(model: PreTrainedModel) -> tuple[str, str]:
    """Walk from the input embedding outwards to the first module that also holds a stack of layers."""
    name = _name_of(model, input_embedding(model)) or ""
    while name:
        name = name.rpartition(".")[0]
        stack = _own_stack(model.get_submodule(name))
        if stack is not None:
            return name, f"{name}.{stack}" if name else stack
    raise ModelError(f"{type(model).__name__} has no stack of decoder layers beside its input embedding")


def _own_stack(module: nn.Module) -> str | None:
    """The longest ModuleList among the children of `module`, or of a child without models in it (`decoder.layers`)."""
    found = [
        (name, child)
        for name, child in module.named_modules()
        if isinstance(child, nn.ModuleList) and name.count(".") <= 1 and not _lies_in_inner_model(module, name)
    ]
    return max(found, key=lambda item: len(item[1]))[0] if found else None


def _lies_in_inner_model(module: nn.Module, name: str) -> bool:
    steps = name.split(".")
    return any(
        isinstance(module.get_submodule(".".join(steps[:depth])), PreTrainedModel) for depth in range(1, len(steps) + 1)
    )


def _find_towers(model: PreTrainedModel, language_model: str, head: str | None) -> list[str]:
    """Towers stand beside the language model or a module around it; only where none does, they may lie deeper."""
    beside = [
        name
        for name, module in model.named_modules()
        if _is_tower(module) and not _overlaps(name, language_model) and name != head
    ]
    next_to_it = [name for name in beside if is_inside(language_model, name.rpartition(".")[0])]
    outermost: list[str] = []
    for name in next_to_it or beside:
        if not any(is_inside(name, tower) for tower in outermost):
            outermost.append(name)
    return outermost


def _overlaps(name: str, other: str) -> bool:
    return is_inside(name, other) or is_inside(other, name)


def _is_tower(module: nn.Module) -> bool:
    return isinstance(module, PreTrainedModel) and any(isinstance(child, nn.ModuleList) for child in module.modules())


def _outermost_beside(model: nn.Module, known: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Outermost modules and loose parameters that neither are, hold, nor lie in one of the `known` modules."""
    module = model.get_submodule(prefix)
    names = [name for name, _ in module.named_children()] + [name for name, _ in module.named_parameters(recurse=False)]
    for child in names:
        name = f"{prefix}.{child}" if prefix else child
        if any(is_inside(name, other) for other in known):
            continue
        if any(is_inside(other, name) for other in known):
            yield from _outermost_beside(model, known, name)
        elif _holds_parameters(module, child):
            yield name


def _holds_parameters(module: nn.Module, child: str) -> bool:
    held = dict(module.named_children()).get(child)
    return held is None or next(held.parameters(), None) is not None


def _behind_layers(model: nn.Module, tower: str) -> Iterator[str]:
    """Children of a tower registered after its (longest) stack of layers, weight matrices among their parameters."""
    children = list(model.get_submodule(tower).named_children())
    stacks = [(len(child), index) for index, (_, child) in enumerate(children) if isinstance(child, nn.ModuleList)]
    if not stacks:
        return
    last = max(stacks, key=lambda stack: (stack[0], -stack[1]))[1]
    for name, child in children[last + 1 :]:
        if any(parameter.dim() > 1 for parameter in child.parameters()):
            yield f"{tower}.{name}"
