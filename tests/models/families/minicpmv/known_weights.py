"""Weights that follow from a parameter's name and shape alone, so that the published code could be given the same."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn


def known_weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """float32: normal with a deviation of 0.1 around 0, or around 1 for the weight of a norm."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape) * 0.1
    is_norm = len(shape) == 1 and name.endswith("weight")
    return torch.from_numpy((drawn + is_norm).astype(np.float32))


def give_known_weights(module: nn.Module, prefix: str = "") -> None:
    """Set every parameter and buffer in the module's state dict by its name behind `prefix`."""
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict({name: known_weight(prefix + name, shape) for name, shape in shapes.items()})
