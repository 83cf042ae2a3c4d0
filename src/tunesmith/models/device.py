"""Which device a process works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_loading: ContextVar[torch.device | None] = ContextVar("where weights are read to", default=None)


def pick_device(*, use_cpu: bool = False) -> torch.device:
    """The current GPU where there is one, else the CPU. Several processes choose theirs by `torch.cuda.set_device`."""
    if torch.cuda.is_available() and not use_cpu:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def loading_device(*, use_cpu: bool = False) -> torch.device:
    """Where a model's weights are read to: the process's own device, but inside `loading_on`."""
    return _loading.get() or pick_device(use_cpu=use_cpu)


@contextmanager
def loading_on(device: torch.device) -> Iterator[None]:
    """Inside, models are loaded on `device`: the CPU for one that is handed on from there, meta for its shape alone."""
    token = _loading.set(device)
    try:
        yield
    finally:
        _loading.reset(token)
