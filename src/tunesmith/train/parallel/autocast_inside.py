"""Autocast inside of a module's forward, whatever an engine around it says.

DeepSpeed switches autocast off around the module that it runs; a tower that is handed float32 pixels needs it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn


def autocast_inside(module: nn.Module, dtype: torch.dtype | None, device: torch.device) -> None:
    """From now on the forward of `module` runs under torch.autocast to `dtype`; None changes nothing."""
    if dtype is None:
        return
    opened: list[ExitStack] = []

    def enter(_: nn.Module, __: Any) -> None:
        stack = ExitStack()
        stack.enter_context(torch.autocast(device.type, dtype=dtype))
        opened.append(stack)

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        opened.pop().close()

    module.register_forward_pre_hook(enter)
    module.register_forward_hook(leave, always_call=True)
