"""LoRA adapters from a model's published layer names to transformers' and back, exactly.

Where the published model has one layer for several of transformers', a change B A of the fused weight is a change of
each part with the same A and the part's rows of B; and changes B_i A_i of the parts are one change of the fused weight
whose A has all A_i below each other and whose B has each B_i in its own rows and columns. An adapter fused in this way
comes apart into what it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.errors import ModelError
from tunesmith.models.adapters.stored import PREFIX, RankAlpha, StoredAdapter, patterns, rank_and_alpha
from tunesmith.models.families.published_layers import FusedLayer, PublishedLayers

_A, _B = "lora_A.weight", "lora_B.weight"
_NAME_LISTS = ("target_modules", "modules_to_save", "exclude_modules")

_Tensors = Mapping[str, torch.Tensor]
_Rename = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class _Change:
    """What an adapter changes one module by: tensors by the ends of their names, and the rank and alpha of A and B."""

    tensors: _Tensors
    own: RankAlpha


def has_published_layout(adapter: StoredAdapter, layers: PublishedLayers) -> bool:
    """Whether an adapter was trained on, or saved for, the published layers."""
    return any(layers.is_published(module) for module in adapter.by_module())


def split_fused_adapter(adapter: StoredAdapter, layers: PublishedLayers) -> StoredAdapter:
    """An adapter on the published layers as one on transformers' layers, which changes the model alike.

    Modules that are named as transformers has them already stay as they are.
    """
    rank_stabilised = bool(adapter.config.get("use_rslora"))
    found: dict[str, _Change] = {}
    for module, tensors in adapter.by_module().items():
        change = _Change(tensors, rank_and_alpha(adapter.config, module))
        fused = layers.fused_layer(module)
        if fused is None:
            found[layers.to_native(module)] = change
            continue
        head, layer = fused
        parts = _split(layer, change, rank_stabilised=rank_stabilised)
        found.update({head + name: part for name, part in zip(layer.native, parts, strict=True)})
    return _assemble(adapter.config, found, layers.native_names)


def fuse_split_adapter(adapter: StoredAdapter, layers: PublishedLayers) -> StoredAdapter:
    """An adapter on transformers' layers as one on the published layers, which changes the model alike.

    Raises ModelError for what cannot be fused: a bias, a DoRA magnitude or a whole weight of only some of the parts.
    """
    rank_stabilised = bool(adapter.config.get("use_rslora"))
    found: dict[str, _Change] = {}
    groups: dict[str, tuple[FusedLayer, dict[str, _Change]]] = {}
    for module, tensors in adapter.by_module().items():
        change = _Change(tensors, rank_and_alpha(adapter.config, module))
        part = layers.part_of(module)
        if part is None:
            found[layers.to_published(module)] = change
            continue
        head, layer = part
        groups.setdefault(head + layer.published, (layer, {}))[1][module.removeprefix(head)] = change
    for name, (layer, parts) in groups.items():
        found[name] = _fuse(name, layer, parts, rank_stabilised=rank_stabilised)
    return _assemble(adapter.config, found, layers.published_names)


def _split(layer: FusedLayer, change: _Change, *, rank_stabilised: bool) -> list[_Change]:
    rows = {tail: layer.split(tensor) for tail, tensor in change.tensors.items() if tail != _A}
    parts = [{tail: split[index] for tail, split in rows.items()} for index in range(len(layer.native))]
    if _A not in change.tensors:
        return [_Change(part, change.own) for part in parts]
    fused_a = change.tensors[_A]
    columns = _own_columns([part[_B] for part in parts])
    if columns is None:
        return [_Change({_A: fused_a.clone(), **part}, change.own) for part in parts]
    return [
        _Change(
            {**part, _A: fused_a[chosen], _B: part[_B][:, chosen]},
            change.own.at_rank(len(chosen), rank_stabilised=rank_stabilised),
        )
        for part, chosen in zip(parts, columns, strict=True)
    ]


def _own_columns(parts: list[torch.Tensor]) -> list[torch.Tensor] | None:
    """Which columns of B are each part's own, if every column belongs to one part: such a B was fused from theirs."""
    used = torch.stack([(part != 0).any(dim=0) for part in parts])  # (parts, rank)
    is_fused = bool((used.sum(dim=0) == 1).all()) and bool(used.any(dim=1).all())
    return [columns.nonzero().flatten() for columns in used] if is_fused else None


def _fuse(name: str, layer: FusedLayer, parts: Mapping[str, _Change], *, rank_stabilised: bool) -> _Change:
    present = [parts[part] for part in layer.native if part in parts]
    whole = _fuse_rows(name, layer, parts)
    if not all(_A in change.tensors for change in present):
        return _Change(whole, present[0].own)
    first = present[0]
    if len(present) == len(layer.native) and all(_shares_a(change, first) for change in present):
        fused_b = layer.fuse([change.tensors[_B] for change in present])
        return _Change({**whole, _A: first.tensors[_A], _B: fused_b}, first.own)
    fused_a = torch.cat([change.tensors[_A] for change in present])
    fused_b = _block_b(
        layer, parts, first.own.scaling(rank_stabilised=rank_stabilised), rank_stabilised=rank_stabilised
    )
    own = first.own.at_rank(len(fused_a), rank_stabilised=rank_stabilised)
    return _Change({**whole, _A: fused_a, _B: fused_b}, own)


def _shares_a(change: _Change, other: _Change) -> bool:
    return change.own == other.own and torch.equal(change.tensors[_A], other.tensors[_A])


def _block_b(layer: FusedLayer, parts: Mapping[str, _Change], scaling: float, *, rank_stabilised: bool) -> torch.Tensor:
    """(rows, sum of ranks) of the fused layer: each part's B in its rows and columns, scaled for a common `scaling`."""
    blocks = [parts[name].tensors[_B] if name in parts else None for name in layer.native]
    first = next(block for block in blocks if block is not None)
    fused = first.new_zeros((layer.num_rows, sum(block.shape[1] for block in blocks if block is not None)))
    start = 0
    for name, rows, block in zip(layer.native, layer.rows, blocks, strict=True):
        if block is None:
            continue
        own = parts[name].own.scaling(rank_stabilised=rank_stabilised)
        fused[rows, start : start + block.shape[1]] = block if own == scaling else block * (own / scaling)
        start += block.shape[1]
    return fused


def _fuse_rows(name: str, layer: FusedLayer, parts: Mapping[str, _Change]) -> dict[str, torch.Tensor]:
    """What has a row for each of the layer's outputs beside B: biases, magnitudes of DoRA, whole weights."""
    tails = {tail for change in parts.values() for tail in change.tensors} - {_A, _B}
    for tail in sorted(tails):
        absent = [part for part in layer.native if part not in parts or tail not in parts[part].tensors]
        if absent:
            raise ModelError(
                f"the adapter cannot be saved in the published layout: {name}.{tail} needs {', '.join(absent)} too, "
                "which this adapter does not change; add them to lora_target, or keep adapter_layout: native"
            )
    return {tail: layer.fuse([parts[part].tensors[tail] for part in layer.native]) for tail in sorted(tails)}


def _assemble(config: Mapping[str, Any], changes: Mapping[str, _Change], rename: _Rename) -> StoredAdapter:
    adapted = {name: change.own for name, change in changes.items() if _A in change.tensors}
    lists: dict[str, Any] = {key: _renamed(config[key], adapted, rename) for key in _NAME_LISTS if config.get(key)}
    weights = {
        f"{PREFIX}{name}.{tail}": tensor for name, change in changes.items() for tail, tensor in change.tensors.items()
    }
    return StoredAdapter({**config, **lists, **patterns(config, adapted)}, weights)


def _renamed(value: str | Iterable[str], adapted: Iterable[str], rename: _Rename) -> list[str]:
    """A list of names renamed; a regular expression becomes the list of the modules it took."""
    if isinstance(value, str):
        return sorted(adapted)
    return sorted({renamed for name in value for renamed in rename(name)})
