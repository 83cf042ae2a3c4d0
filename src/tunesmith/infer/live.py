"""Questions to a model that is in training: it answers in evaluation mode and is then as it was before.

Knows nothing of training; it restores what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tunesmith.models.mode import evaluation_mode


@contextmanager
def answering(model: torch.nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode; on leaving restore every module's mode and torch's random state.

    Gradient checkpointing acts in training mode only and the cache is switched on per call of `generate`, so neither
    the model's config nor its checkpointing needs to be touched.
    """
    with evaluation_mode(model), kept_random_state(model):
        yield


@contextmanager
def kept_random_state(model: torch.nn.Module, *, seed: int | None = None) -> Iterator[None]:
    """Restore torch's random state (CPU and the model's GPUs) on leaving; inside it starts from `seed` if given."""
    gpus = {parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(index for index in gpus if index is not None)):
        if seed is not None:
            torch.manual_seed(seed)
        yield
