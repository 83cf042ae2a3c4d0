"""A model with an adapter, as it is without: the model below it, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Inside, `model` computes as if nothing had been put on it; modules trained in full beside an adapter are the
    originals. What trains is afterwards as before.

    PEFT's own `disable_adapter` opens every weight of an adapter again, fixed ones too, and takes stock of the whole
    model each time.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, trains in parameters:
            if parameter.requires_grad != trains:
                parameter.requires_grad_(trains)
