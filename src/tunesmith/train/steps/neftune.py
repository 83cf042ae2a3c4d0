"""NEFTune: uniform noise on the embeddings while training (arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def noisy_embeddings(embedding: nn.Module, *, alpha: float | None) -> Iterator[None]:
    """Inside, in training mode, `embedding` adds noise from ±alpha / sqrt(T·H) to its (B, T, H) output.

    None or 0 adds nothing.
    """
    if not alpha:
        yield
        return

    def add_noise(module: nn.Module, _: object, output: Tensor) -> Tensor:
        if not module.training:
            return output
        bound = alpha / math.sqrt(output.shape[1] * output.shape[2])
        return output + torch.empty_like(output).uniform_(-bound, bound)

    handle = embedding.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
