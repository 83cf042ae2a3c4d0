"""NEFTune: uniform noise on the embeddings while training (arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunesmith.models.packing.split_attention import sample_lengths


@contextmanager
def noisy_embeddings(embedding: nn.Module, *, alpha: float | None) -> Iterator[None]:
    """Inside, in training mode, `embedding` adds noise from ±alpha / sqrt(T·H) to its (B, T, H) output.

    T is the length of the sample where several lie in one sequence. None or 0 adds nothing.
    """
    if not alpha:
        yield
        return

    def add_noise(module: nn.Module, _: object, output: Tensor) -> Tensor:
        if not module.training:
            return output
        lengths = sample_lengths() or (output.shape[1],)
        noise = [
            torch.empty_like(part).uniform_(-1, 1) * (alpha / math.sqrt(part.shape[1] * part.shape[2]))
            for part in torch.split(output, list(lengths), dim=1)
        ]
        return output + torch.cat(noise, dim=1)

    handle = embedding.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
