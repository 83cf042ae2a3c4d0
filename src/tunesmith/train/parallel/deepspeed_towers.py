"""Towers that ZeRO-3 must not cut while a step runs: those that run more often in one process than in another.

ZeRO-3 gathers a weight whenever a module that owns it runs, in all processes together. MiniCPM's frozen tower takes
its slices in portions, as many as there are, so its weights stay whole from one update to the next.
"""

from __future__ import annotations

from torch import nn

from tunesmith.models.parts import core_model, find_parts


def reads_in_portions(model: nn.Module) -> bool:
    """Whether a tower of `model` runs as often as its media need."""
    return hasattr(core_model(model).config, "vision_batch_size")


def weights_of_towers(model: nn.Module) -> list[nn.Parameter]:
    """The weights of towers and projectors, in the model's order."""
    core, parts = core_model(model), find_parts(model)
    beside = (*parts.vision_tower, *parts.projector)
    return [
        parameter
        for name, parameter in core.named_parameters()
        if any(name == part or name.startswith(f"{part}.") for part in beside)
    ]
