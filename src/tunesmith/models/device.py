"""Which device a process works on."""

from __future__ import annotations

import torch


def pick_device(*, use_cpu: bool = False) -> torch.device:
    """The current GPU where there is one, else the CPU. Several processes choose theirs by `torch.cuda.set_device`."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
