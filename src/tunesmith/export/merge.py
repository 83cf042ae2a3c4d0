"""Base and adapters into one set of weight files, one weight at a time.

A stored key of the base is followed to the model's parameter, merged there if an adapter changes it, and written
under the key it had. So an export has the base's own layout, whichever it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tunesmith.errors import ModelError
from tunesmith.export.adapter import AdapterMerge
from tunesmith.export.keys import SplitKey, map_keys
from tunesmith.export.shards import ShardWriter
from tunesmith.export.stored import read_keys, read_tensors, stored_format
from tunesmith.models.files.score_weight import read_score_weight
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.load import load_config, model_class_of
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.score_head import SCORE_WEIGHT, put_score_head


class NotByWeightError(ModelError):
    """The merge cannot be made one stored weight at a time."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What becomes of each stored weight.

    files:        weight files of the base
    parameter_of: stored key to parameter
    splits:       stored keys that are several parameters
    merges:       the adapters, in order
    ties:         parameters that share one tensor, each to all of its group
    """

    files: tuple[Path, ...]
    parameter_of: Mapping[str, str]
    splits: Mapping[str, SplitKey]
    merges: tuple[AdapterMerge, ...]
    ties: Mapping[str, tuple[str, ...]]

    @property
    def keys(self) -> frozenset[str]:
        """The stored keys."""
        return frozenset(self.parameter_of) | frozenset(self.splits)

    def changes(self, name: str) -> bool:
        """Whether any adapter changes this parameter."""
        return any(name in merge.changed for merge in self.merges)

    @property
    def gives_scores(self) -> bool:
        """Whether what comes out is a reward model."""
        return SCORE_WEIGHT in self.parameter_of.values() or self.changes(SCORE_WEIGHT)

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The parameter after every adapter, from what the base has."""
        for merge in self.merges:
            if name in merge.changed:
                weight = merge.apply(name, weight)
        return weight

    def merged_split(self, split: SplitKey, weight: torch.Tensor) -> torch.Tensor:
        """A stored tensor of several parameters after every adapter."""
        if not any(self.changes(name) for name in split.parameters):
            return weight
        parts = {name: self.merged(name, part) for name, part in split.split(weight).items()}
        finest = reduce(torch.promote_types, (part.dtype for part in parts.values()))
        return split.join({name: part.to(finest) for name, part in parts.items()})


def plan_merge(base: Path, adapters: tuple[Path, ...] = ()) -> MergePlan:
    """How to merge weight by weight; without adapters a plain copy.

    Raises ModelError if an adapter does not fit, NotByWeightError where the model must be merged as a whole.
    """
    files = tuple(weight_files(base))
    keys = [key for file in files for key in read_keys(file)]
    model = build_skeleton(base)
    key_map = map_keys(model, keys)
    # Twice the precision of a 16-bit base: a sum is rounded once, on writing.
    dtype = torch.promote_types(stored_format(base), torch.float32)
    merges = tuple(AdapterMerge(build_skeleton(base), adapter, dtype=dtype) for adapter in adapters)
    plan = MergePlan(files, key_map.parameter_of, key_map.splits, merges, _ties(model))
    changed = frozenset().union(*(merge.changed for merge in merges))
    stored = {*key_map.parameter_of.values(), *(name for split in key_map.splits.values() for name in split.parameters)}
    reachable = all(any(alias in stored for alias in plan.ties.get(name, (name,))) for name in changed - {SCORE_WEIGHT})
    if not reachable or not all(merge.by_layer for merge in merges):
        raise NotByWeightError(f"the adapters {', '.join(map(str, adapters))} change more than single stored weights")
    return plan


def num_embedding_rows(base: Path) -> int:
    """For how many tokens the model in `base` has an embedding."""
    embedding: Any = build_skeleton(base).get_input_embeddings()
    return int(embedding.weight.shape[0])


def build_skeleton(base: Path) -> PreTrainedModel:
    """The model of a folder with shapes and names but no memory (torch's meta device)."""
    config = load_config(base)
    model_class: Any = model_class_of(config, base)
    with quiet_transformers(), torch.device("meta"):
        model: PreTrainedModel = model_class._from_config(config, dtype=torch.float32)
    model.tie_weights()
    score = read_score_weight(base)
    if score is not None:
        put_score_head(model, score)
    return model


def write_merged(plan: MergePlan, writer: ShardWriter, *, dtype: torch.dtype | None) -> bool:
    """Send every weight of the plan to `writer`, in `dtype` or the one it is stored in.

    Returns whether weights that the base ties had to be written apart, since the adapters changed them differently.
    """
    stored = set(plan.parameter_of.values())
    apart: set[str] = set()
    for key, weight in _stored_tensors(plan):
        if key in plan.splits:
            writer.add(key, _cast(plan.merged_split(plan.splits[key], weight), dtype or weight.dtype))
            continue
        name = plan.parameter_of.get(key, key)
        value = plan.merged(name, weight)
        writer.add(key, _cast(value, dtype or weight.dtype))
        for alias, other in _differing_aliases(plan, name, weight, value):
            if alias not in stored | apart:
                writer.add(alias, _cast(other, dtype or weight.dtype))
            apart.add(alias)
    if plan.changes(SCORE_WEIGHT) and SCORE_WEIGHT not in stored:
        writer.add(SCORE_WEIGHT, plan.merged(SCORE_WEIGHT, torch.empty(0)))  # an adapter has it whole, its base not
    return bool(apart)


def _differing_aliases(
    plan: MergePlan, name: str, weight: torch.Tensor, value: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    group = plan.ties.get(name, ())
    if not any(plan.changes(alias) for alias in group):
        return
    for alias in group:
        other = plan.merged(alias, weight)
        if not torch.equal(other.to(value.dtype), value):
            yield alias, other


def _stored_tensors(plan: MergePlan) -> Iterator[tuple[str, torch.Tensor]]:
    for file in plan.files:
        yield from read_tensors(file)


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _ties(model: PreTrainedModel) -> dict[str, tuple[str, ...]]:
    names_of: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names_of.setdefault(id(parameter), []).append(name)
    return {name: tuple(names) for names in names_of.values() if len(names) > 1 for name in names}
