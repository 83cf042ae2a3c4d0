"""Which weights FSDP2 gathers together, and which it leaves whole.

Each decoder layer is a unit of its own, gathered while it runs. Everything else (embeddings, head, towers, projectors)
is gathered once a micro-batch, whether a process's micro-batch has media or not: so no process waits for another that
skips a tower. Found by structure; knows nothing of processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from tunesmith.models.parts import core_model, find_parts, input_embedding
from tunesmith.models.quantization import is_packed


def layer_units(model: nn.Module) -> list[nn.Module]:
    """The decoder layers that run for every batch.

    Layers that look at pictures from within the language model (`cross_attention_layers` of Mllama) are skipped by text
    and so are none.
    """
    core = core_model(model)
    optional = set(core.config.get_text_config().to_dict().get("cross_attention_layers") or ())
    layers = core.get_submodule(find_parts(model).layers)
    return [layer for number, layer in enumerate(layers.children()) if number not in optional]


def trained_format(model: nn.Module) -> torch.dtype | None:
    """The format of most weights that train; None where none does."""
    formats = Counter(parameter.dtype for parameter in model.parameters() if parameter.requires_grad)
    return max(formats, key=lambda dtype: formats[dtype], default=None)


def left_whole(unit: nn.Module, *, trained: torch.dtype | None) -> set[nn.Parameter]:
    """What cannot be cut: single numbers, weights packed in 8 bits, and what trains in another format than `trained`,
    the rest of what trains."""
    return {
        parameter
        for parameter in unit.parameters()
        if parameter.dim() == 0 or is_packed(parameter) or (parameter.requires_grad and parameter.dtype != trained)
    }


def owners_of_trained(module: nn.Module, *, but: Iterable[nn.Module] = ()) -> list[tuple[nn.Module, str]]:
    """Every weight in `module` that trains, by the module that holds it and its name there, but those in the units
    `but`."""
    inside = {inner for unit in but for inner in unit.modules()}
    return [
        (inner, name)
        for inner in module.modules()
        if inner not in inside
        for name, parameter in inner.named_parameters(recurse=False)
        if parameter.requires_grad
    ]


def may_be_left_out(unit: nn.Module) -> list[tuple[nn.Module, str]]:
    """The weights of a unit that train and that a batch may not run: those in a list of modules (experts)."""
    lists = [module for module in unit.modules() if isinstance(module, nn.ModuleList)]
    return [owner for modules in lists for owner in owners_of_trained(modules)]


def trains_beside_text(model: nn.Module) -> bool:
    """Whether anything trains that text does not run: a tower, a projector, an adapter in one of them."""
    core, parts = core_model(model), find_parts(model)
    beside = [*parts.vision_tower, *parts.projector]
    return any(
        parameter.requires_grad and any(name == part or name.startswith(f"{part}.") for part in beside)
        for name, parameter in core.named_parameters()
    )


def embedding_of(model: nn.Module) -> nn.Module:
    """The module from which every batch's hidden states come."""
    return input_embedding(core_model(model))


def linear_weights(unit: nn.Module) -> set[nn.Parameter]:
    """What autocast casts wherever it is used: weights and biases of linear layers."""
    linear = (module for module in unit.modules() if isinstance(module, nn.Linear))
    return {parameter for module in linear for parameter in module.parameters(recurse=False)}


def share_that_trains(model: nn.Module) -> float:
    """Of all weights, by their number."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trained / max(sum(parameter.numel() for parameter in model.parameters()), 1)


def unpack_4bit(model: nn.Module) -> int:
    """Make every weight that is packed in 4 bits an ordinary tensor of bytes, which can be cut; how many there are.

    What it is read with (`quant_state`) stays with its module, where bitsandbytes looks for it in each forward.
    """
    found = [module for module in model.modules() if _is_4bit(module)]
    for module in found:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        module.quant_state = vars(weight)["quant_state"]
        module.weight = nn.Parameter(torch.Tensor(weight.data).view(-1, 1), requires_grad=False)
    return len(found)


def _is_4bit(module: nn.Module) -> bool:
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return type(weight).__name__ == "Params4bit"
