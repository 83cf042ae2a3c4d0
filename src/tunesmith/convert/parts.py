"""What an engine wrote in parts as a model folder: FSDP's distributed checkpoint, DeepSpeed's ZeRO folder, our pieces.

The base says which weights a model has and in which layout; the parts give the values, weight by weight, so that never
more is in memory than one file of the output. What the parts do not have stays the base's: it did not train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from tunesmith.errors import ModelError
from tunesmith.export.files import copy_other_files
from tunesmith.export.keys import KeyMap, map_keys
from tunesmith.export.merge import build_skeleton
from tunesmith.export.shards import ShardWriter
from tunesmith.export.stored import read_keys, read_tensors
from tunesmith.export.target import whole_folder
from tunesmith.models.files.engine_parts import holds_distributed_checkpoint, holds_pieces
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.pth.zero import read_zero
from tunesmith.train.checkpoint.held import WEIGHT, Key
from tunesmith.train.checkpoint.pieces import PiecesStored

_PREFIXES = ("", "model.", "module.", "module.model.", "model.model.", f"{WEIGHT}/", "model.module.")
"""What engines and trainers put before a model's names."""


@dataclass(frozen=True, slots=True)
class PartedWeights:
    """Weights by the model's names, each read when it is asked for."""

    source: Path
    names: Mapping[str, str]
    read: Callable[[str], Tensor]

    def get(self, name: str) -> Tensor | None:
        """The weight, None where it is not among them."""
        return self.read(self.names[name]) if name in self.names else None


def convert_parts(parts: Path, base: Path, output: Path, *, shard_gb: float, dtype: torch.dtype | None) -> str:
    """Write the model of `base` with the weights in `parts` into `output`; what was done, for the user.

    Raises ModelError where they do not fit together, RunError where it cannot be written.
    """
    skeleton = build_skeleton(base)
    own: dict[str, Tensor] = skeleton.state_dict(keep_vars=True)
    weights = open_parts(parts, own)
    keys = map_keys(skeleton, [key for file in weight_files(base) for key in read_keys(file)])
    _require_places(weights, keys, own)
    with whole_folder(output) as folder:
        copy_other_files(base, folder)
        writer = ShardWriter(folder, shard_gb=shard_gb)
        for key, stored in _stored(base):
            value = _replaced(key, stored, keys, weights)
            writer.add(key, value.to(dtype or stored.dtype) if stored.is_floating_point() else value)
        files = writer.finish()
    number = f"{len(files)} weight file{'s' * (len(files) != 1)}"
    return f"wrote {output}: {number}, {len(weights.names)} weights from {parts}, everything else from {base}"


def _replaced(key: str, stored: Tensor, keys: KeyMap, weights: PartedWeights) -> Tensor:
    """What stands under a key of the base, with the values of the parts."""
    split = keys.splits.get(key)
    if split is None:
        name = keys.parameter_of.get(key, key)
        return _fitting(weights.get(name), stored, name, weights.source)
    kept = split.split(stored)
    return split.join({name: _fitting(weights.get(name), part, name, weights.source) for name, part in kept.items()})


def _require_places(weights: PartedWeights, keys: KeyMap, own: Mapping[str, Tensor]) -> None:
    """Raise ModelError for weights that the base's files have no key of their own for, tied ones aside."""
    written = {*keys.parameter_of.values(), *(name for split in keys.splits.values() for name in split.parameters)}
    reached = {id(own[name]) for name in written if name in own}
    lost = [name for name in weights.names if id(own[name]) not in reached]
    if lost:
        raise ModelError(
            f"{weights.source} has weights that the base's files do not have by themselves ({', '.join(lost[:3])}, …): "
            "they cannot be written one by one. Resume the run, whose next checkpoint has the whole model beside its "
            "parts"
        )


def open_parts(parts: Path, own: Mapping[str, Tensor]) -> PartedWeights:
    """The weights in a folder of parts, by the names in `own`.

    Raises ModelError for an adapter's weights, and where none of the names is the model's.
    """
    if holds_distributed_checkpoint(parts):
        stored, read = _distributed(parts)
    elif holds_pieces(parts):
        stored, read = _pieces(parts)
    else:
        whole = read_zero(parts).weights
        stored, read = list(whole), lambda name: whole[name]
    if adapter := next((name for name in stored if ".lora_" in name), None):
        raise ModelError(
            f"{parts} holds the weights of an adapter ({adapter}, …); give the folder around it, in which "
            "adapter_config.json lies, or the run folder"
        )
    prefix = max(
        _PREFIXES, key=lambda one: len({name.removeprefix(one) for name in stored if name.startswith(one)} & own.keys())
    )
    names = {name.removeprefix(prefix): name for name in stored if name.startswith(prefix)}
    if not own.keys() & names.keys():
        raise ModelError(
            f"{parts} holds no weight of the model ({', '.join(stored[:3])}, …); give the model it was made of"
        )
    return PartedWeights(parts, {name: kept for name, kept in names.items() if name in own}, read)


def _distributed(parts: Path) -> tuple[list[str], Callable[[str], Tensor]]:
    """Of torch's distributed checkpoint: what is a weight, and how to read it."""
    reader = FileSystemReader(parts)
    metadata = reader.read_metadata()
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    entries = {
        name: entry for name, entry in metadata.state_dict_metadata.items() if isinstance(entry, TensorStorageMetadata)
    }

    def read(name: str) -> Tensor:
        target = torch.empty(entries[name].size, dtype=entries[name].properties.dtype)
        planner = DefaultLoadPlanner()
        planner.set_up_planner({name: target}, metadata, True)
        reader.read_data(planner.create_local_plan(), planner).wait()
        return target

    return list(entries), read


def _pieces(parts: Path) -> tuple[list[str], Callable[[str], Tensor]]:
    stored = PiecesStored(parts.parent.parent)

    def read(name: str) -> Tensor:
        key = Key.parse(name)
        entry = stored.entries[key]
        assert isinstance(entry, Tensor)
        target = torch.empty(entry.shape, dtype=entry.dtype)
        stored.fill({key: target})
        return target

    return [str(key) for key, entry in stored.entries.items() if isinstance(entry, Tensor)], read


def _fitting(value: Tensor | None, stored: Tensor, name: str, parts: Path) -> Tensor:
    if value is None:
        return stored
    if value.shape != stored.shape:
        raise ModelError(
            f"{name} is {tuple(value.shape)} in {parts} and {tuple(stored.shape)} in the base; give the model that the "
            "training started from (with its vocabulary grown likewise, if the training grew it)"
        )
    return value


def _stored(base: Path) -> Iterator[tuple[str, Tensor]]:
    for file in weight_files(base):
        yield from read_tensors(file)
