"""NEFTune: uniform noise on the embeddings while training (arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunesmith.models.packing.split_attention import strands_apart


@contextmanager
def noisy_embeddings(embedding: nn.Module, *, alpha: float | None) -> Iterator[None]:
    """Inside, in training mode, `embedding` adds noise from ±alpha / sqrt(T·H) to its (B, T, H) output.

    T is the length of the sample where several lie in one sequence, that of beginning and answer for each of several
    answers. None or 0 adds nothing.
    """
    if not alpha:
        yield
        return

    def add_noise(module: nn.Module, _: object, output: Tensor) -> Tensor:
        if not module.training:
            return output
        parts, lengths = [output], [output.shape[1]]
        if strands := strands_apart():
            parts = list(torch.split(output, [strand.num_tokens for strand in strands], dim=1))
            lengths = [strand.length for strand in strands]
        noise = [
            torch.empty_like(part).uniform_(-1, 1) * (alpha / math.sqrt(length * part.shape[2]))
            for part, length in zip(parts, lengths, strict=True)
        ]
        return output + torch.cat(noise, dim=1)

    handle = embedding.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
