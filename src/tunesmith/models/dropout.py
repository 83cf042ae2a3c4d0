"""Dropout taken out of a model for good."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def switch_off_dropout(model: nn.Module) -> bool:
    """Set every share that `model` drops in training to 0; whether there was one above.

    The shares are those of dropout modules, and the numbers by which attention drops weights and towers whole layers
    or branches of them (LayerDrop, stochastic depth).
    """
    found = False
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            found |= module.p > 0
            module.p = 0.0
            continue
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float) and value > 0:
                found = True
                setattr(module, name, 0.0)
    return found
