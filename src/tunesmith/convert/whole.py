"""A part that trained in full as a model folder: the base's files, and the checkpoint's weights under their names.

The base says which weights a model has, in which number format and in which file layout they are; the checkpoint
gives their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from tunesmith.errors import ModelError
from tunesmith.export.files import copy_other_files
from tunesmith.export.shards import ShardWriter
from tunesmith.export.stored import read_tensors
from tunesmith.models.files.weight_files import weight_files

_COMPUTED = "inv_freq"
"""Rotation speeds, which older versions of transformers kept among the weights."""


def write_whole(
    weights: Mapping[str, torch.Tensor], folder: Path, *, base: Path, shard_gb: float, dtype: torch.dtype | None
) -> None:
    """Write the model of `base` with `weights` into `folder`, in `dtype` or the base's own format.

    Raises ModelError for weights that the base has not, for those of another shape, and for absent ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy_other_files(base, folder)
    writer = ShardWriter(folder, shard_gb=shard_gb)
    written: set[str] = set()
    for key, stored in _stored(base):
        writer.add(key, _fitting(weights, key, stored, base).to(dtype or stored.dtype))
        written.add(key)
    extra = {name: tensor for name, tensor in weights.items() if name not in written and not name.endswith(_COMPUTED)}
    untied = [name for name, tensor in extra.items() if not _is_repeated(tensor, weights, written)]
    if untied:
        raise ModelError(
            f"the checkpoint has {len(untied)} weights that {base} has not ({', '.join(untied[:3])}); give the model "
            "that the training started from"
        )
    writer.finish()


def _fitting(weights: Mapping[str, torch.Tensor], key: str, stored: torch.Tensor, base: Path) -> torch.Tensor:
    if key.endswith(_COMPUTED) and key not in weights:
        return stored
    if key not in weights:
        raise ModelError(
            f"the checkpoint lacks the weight {key} of {base}; give the model that the training started from, or the "
            "whole checkpoint"
        )
    if weights[key].shape != stored.shape:
        raise ModelError(
            f"the checkpoint's {key} is {tuple(weights[key].shape)}, that of {base} is {tuple(stored.shape)}; give the "
            "model that the training started from (with its vocabulary grown likewise, if the training grew it)"
        )
    return weights[key]


def _is_repeated(tensor: torch.Tensor, weights: Mapping[str, torch.Tensor], written: set[str]) -> bool:
    """Whether a weight only repeats one that is written: an output head tied to the embedding."""
    return any(
        weights[name].shape == tensor.shape and torch.equal(weights[name], tensor) for name in written & set(weights)
    )


def _stored(base: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in weight_files(base):
        yield from read_tensors(file)
