"""The weights a model folder holds, read one tensor at a time: safetensors, or the older .bin files.

Knows files and their keys, nothing of models; which files there are and whether they are whole says `weight_files`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from tunesmith.models.files.weight_files import check_weight_file, weight_files


def read_keys(file: Path) -> list[str]:
    """The keys one weight file holds. Raises ModelError if the file is damaged."""
    check_weight_file(file)
    if file.suffix != ".safetensors":
        return list(_load_pickled(file))
    with safe_open(file, framework="pt", device="cpu") as opened:
        return list(opened.keys())


def read_tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Each key and tensor of one weight file; the file is mapped, so only what is looked at takes memory."""
    if file.suffix != ".safetensors":
        yield from _load_pickled(file).items()
        return
    with safe_open(file, framework="pt", device="cpu") as opened:
        for key in opened.keys():  # noqa: SIM118 - an open file, which cannot be iterated itself
            yield key, opened.get_tensor(key)


def stored_format(folder: Path) -> torch.dtype:
    """The number format that most of a folder's weights are stored in."""
    bytes_of: dict[torch.dtype, int] = {}
    for file in weight_files(folder):
        for _, tensor in read_tensors(file):
            bytes_of[tensor.dtype] = bytes_of.get(tensor.dtype, 0) + tensor.nbytes
    return max(bytes_of, key=lambda dtype: bytes_of[dtype])


def _load_pickled(file: Path) -> dict[str, torch.Tensor]:
    try:
        state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:
        # Files from before PyTorch 1.6 are no zip archives and cannot be mapped.
        state = torch.load(file, map_location="cpu", weights_only=True)
    return state
