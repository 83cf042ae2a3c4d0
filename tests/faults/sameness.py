"""What two run folders must have in common: everything but times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from tests.train.runs import metrics_without_times


def differences(expected: Path, found: Path) -> list[str]:
    """What is not the same bit for bit in the folder of a run that was hurt, and what it left lying about."""
    return [
        *_different_tensors(expected, found),
        *_different_optimisers(expected, found),
        *_different_records(expected, found),
        *leftovers(found),
    ]


def broken_checkpoints(folder: Path) -> list[str]:
    """Checkpoints that are not whole in the folder of a run that has ended."""
    problems = []
    for checkpoint in folder.glob("checkpoints/step-*"):
        try:
            for file in checkpoint.rglob("*.safetensors"):
                load_file(file)
            _trainer_state(checkpoint / "trainer")
            json.loads((checkpoint / "trainer/progress.json").read_text(encoding="utf-8"))
        except Exception as error:  # noqa: BLE001  whatever a reader says of a broken file
            problems.append(f"{checkpoint.relative_to(folder)} is broken: {error}")
    return problems


def leftovers(folder: Path) -> list[str]:
    """What only a run that was killed may leave half written or half removed."""
    patterns = ("**/.writing-*", "**/.removing-*", "final", ".lock")
    places = [place for pattern in patterns for place in folder.glob(pattern)]
    return [f"{place.relative_to(folder)} was left there" for place in places]


def size_bytes(folder: Path) -> int:
    """Of all files below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _different_tensors(expected: Path, found: Path) -> Iterator[str]:
    """Final weights, and those of every checkpoint that is kept, in whatever file."""
    names, others = _weights(expected), _weights(found)
    if names != others:
        yield f"weights in {sorted(others)} instead of {sorted(names)}"
        return
    for name in sorted(names):
        wanted, got = load_file(expected / name), load_file(found / name)
        if wanted.keys() != got.keys() or not all(torch.equal(wanted[key], got[key]) for key in wanted):
            yield f"{name} has other weights"


def _different_optimisers(expected: Path, found: Path) -> Iterator[str]:
    """In every checkpoint that is kept, what stands beside the tensors of `_different_tensors`."""
    for trainer in sorted(expected.glob("checkpoints/step-*/trainer")):
        name = trainer.relative_to(expected)
        if not _equal(_trainer_state(trainer), _trainer_state(found / name)):
            yield f"{name} has another state"


def _trainer_state(trainer: Path) -> dict[str, Any]:
    """Optimiser and schedule, as each engine writes them; DeepSpeed's tensors are in .safetensors files."""
    state: dict[str, Any] = {}
    if (trainer / "optimizer.pt").exists():
        state |= torch.load(trainer / "optimizer.pt", weights_only=True)
    if (trainer / "schedule.json").exists():
        state["schedule"] = json.loads((trainer / "schedule.json").read_text(encoding="utf-8"))
    if (trainer / "sharded").exists():
        state |= _sharded_tensors(trainer / "sharded")
    return state


def _sharded_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """What torch.distributed.checkpoint wrote, put together again."""
    reader = FileSystemReader(folder)
    known = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in known.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def _different_records(expected: Path, found: Path) -> Iterator[str]:
    if metrics_without_times(expected) != metrics_without_times(found):
        yield "metrics.jsonl has other numbers"
    if _report(expected) != _report(found):
        yield "data_report.json says something else"


def _report(folder: Path) -> Any:
    return json.loads((folder / "data_report.json").read_text(encoding="utf-8"))


def _weights(folder: Path) -> set[str]:
    return _names(folder, "*.safetensors") | _names(folder, "checkpoints/**/*.safetensors")


def _names(folder: Path, pattern: str) -> set[str]:
    """Files by their place in a run folder, without checkpoints that were set aside by going on from an earlier one."""
    names = {str(file.relative_to(folder)) for file in folder.glob(pattern)}
    return {name for name in names if not name.startswith("checkpoints/old-step-")}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
