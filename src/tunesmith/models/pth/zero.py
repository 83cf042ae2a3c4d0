"""The full weights out of the pieces that DeepSpeed's ZeRO wrote, one file a process.

ZeRO-1 and 2 write each group of parameters as one flat tensor, cut evenly among the processes:
    single_partition_of_fp32_groups, in each process's file a tensor a group
ZeRO-3 cuts every parameter by itself, its last piece padded, and writes each process's pieces end to end:
    fp32_flat_groups, to be read as one tensor
`param_shapes` in the model's file says which parameters follow each other there, and their shapes. Frozen parameters,
where they were saved at all, stand beside them as they are (ZeRO-3: in pieces too).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import ModelError
from tunesmith.models.pth.pickles import load_pickle

_RANK = re.compile(r"zero_pp_rank_(\d+)_mp_rank_(\d+)_")
_OPTIMIZER_FILES, _MODEL_FILES = "*_optim_states.pt", "*_model_states.pt"
_WHOLE_GROUPS, _PIECES = "single_partition_of_fp32_groups", "fp32_flat_groups"

Shapes = Mapping[str, torch.Size]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class ZeroCheckpoint:
    """weights: full parameters and buffers, trained ones in float32. model_state: the model's file as it stands."""

    weights: Weights
    model_state: Mapping[str, Any]


def is_zero_folder(folder: Path) -> bool:
    """Whether DeepSpeed wrote a checkpoint into `folder`."""
    return folder.is_dir() and any(folder.glob(_MODEL_FILES))


def read_zero(folder: Path) -> ZeroCheckpoint:
    """Put the pieces together. Raises ModelError where one is absent or does not fit the others."""
    states = [_load_dict(file) for file in _by_rank(folder, _MODEL_FILES)]
    optimizer_files = _by_rank(folder, _OPTIMIZER_FILES)
    first = states[0]
    if not optimizer_files:
        return ZeroCheckpoint(dict(first["module"]), first)
    pieces = [_load_dict(file)["optimizer_state_dict"] for file in optimizer_files]
    _require_all(folder, pieces)
    by_parameter = _PIECES in pieces[0]
    weights = {name: first["module"][name] for name in first["buffer_names"] if name in first["module"]}
    weights |= _frozen(states, by_parameter=by_parameter)
    join = _join_pieces if by_parameter else _join_groups
    weights |= join(folder, first["param_shapes"], pieces)
    shared = {
        name: weights[other] for name, other in dict(first.get("shared_params") or {}).items() if other in weights
    }
    return ZeroCheckpoint(weights | shared, first)


def _join_groups(folder: Path, groups: Sequence[Shapes], pieces: Sequence[Mapping[str, Any]]) -> Weights:
    """ZeRO-1 and 2. A group's flat tensor may end in padding, to twice the number of processes."""
    weights: Weights = {}
    for index, shapes in enumerate(groups):
        flat = torch.cat([piece[_WHOLE_GROUPS][index] for piece in pieces])
        padding = flat.numel() - sum(shape.numel() for shape in shapes.values())
        if not 0 <= padding < 2 * len(pieces):
            raise _misfit(folder, flat.numel(), flat.numel() - padding)
        weights |= dict(_cut(flat, shapes))
    return weights


def _join_pieces(folder: Path, groups: Sequence[Shapes], pieces: Sequence[Mapping[str, Any]]) -> Weights:
    """ZeRO-3."""
    shapes = {name: shape for group in groups for name, shape in group.items()}
    sizes = [math.ceil(shape.numel() / len(pieces)) for shape in shapes.values()]
    flat = [torch.cat(list(piece[_PIECES])) for piece in pieces]
    for tensor in flat:
        if tensor.numel() != sum(sizes):
            raise _misfit(folder, tensor.numel(), sum(sizes))
    starts = accumulate(sizes[:-1], initial=0)
    return {
        name: _without_padding([tensor[start : start + size] for tensor in flat], shape)
        for (name, shape), start, size in zip(shapes.items(), starts, sizes, strict=True)
    }


def _frozen(states: Sequence[Mapping[str, Any]], *, by_parameter: bool) -> Weights:
    shapes = states[0].get("frozen_param_shapes") or {}
    fragments = [state["frozen_param_fragments"] for state in states if shapes]
    if not by_parameter:
        return {name: fragments[0][name] for name in shapes}
    return {name: _without_padding([piece[name] for piece in fragments], shape) for name, shape in shapes.items()}


def _cut(flat: torch.Tensor, shapes: Shapes) -> Iterator[tuple[str, torch.Tensor]]:
    start = 0
    for name, shape in shapes.items():
        yield name, flat[start : start + shape.numel()].view(shape)
        start += shape.numel()


def _without_padding(parts: Sequence[torch.Tensor], shape: torch.Size) -> torch.Tensor:
    return torch.cat([part.flatten() for part in parts])[: shape.numel()].view(shape)


def _by_rank(folder: Path, pattern: str) -> list[Path]:
    ranks: dict[tuple[int, int], Path] = {}
    for file in folder.glob(pattern):
        match = _RANK.search(file.name)
        ranks[(int(match[1]), int(match[2])) if match else (0, 0)] = file
    if any(model_rank for _, model_rank in ranks):
        raise ModelError(
            f"{folder} was written with tensor parallelism (mp_rank_01 and more), which XTuner does not use; convert "
            "it with DeepSpeed's own zero_to_fp32.py"
        )
    return [ranks[rank] for rank in sorted(ranks)]


def _require_all(folder: Path, pieces: Sequence[Mapping[str, Any]]) -> None:
    counts = pieces[0]["partition_count"]
    expected = max(counts) if isinstance(counts, list) else counts
    if expected != len(pieces):
        raise ModelError(
            f"{folder} was written by {expected} processes and holds {len(pieces)} files {_OPTIMIZER_FILES}: copy the "
            "others beside them, from every host of the training"
        )


def _load_dict(file: Path) -> dict[str, Any]:
    content = load_pickle(file)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds a {type(content).__name__}, not a checkpoint of DeepSpeed's")
    return content


def _misfit(folder: Path, found: int, expected: int) -> ModelError:
    return ModelError(
        f"the files of {folder} hold {found:,} numbers where their shapes need {expected:,}: they are of different "
        "checkpoints or incomplete; copy them again"
    )
