"""The format of engines that cut weights into runs of numbers (DeepSpeed's ZeRO): safetensors, a file a process.

trainer/pieces/0000-of-0004.safetensors   process 0's runs of every tensor, by "state/name"; in its header where each
                                          begins in the tensor, and the tensor's shape
trainer/schedule.json                     schedule and scaler, and what the optimiser keeps as plain numbers

Any number of processes of any engine can read it: each takes the parts it needs. Knows no engines.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from tunesmith.errors import RunError
from tunesmith.train.checkpoint.held import Key, Piece, local_rows
from tunesmith.train.checkpoint.progress import TRAINER
from tunesmith.train.checkpoint.schedule_state import ScheduleState
from tunesmith.train.checkpoint.sharded import SCHEDULE, read_schedule, write_schedule

PIECES = "pieces"
_FILE = re.compile(r"(\d+)-of-(\d+)\.safetensors")


@dataclass(frozen=True, slots=True)
class PiecesPart:
    """See TrainerPart. pieces: this process's; numbers: what the optimiser keeps as plain numbers."""

    pieces: Mapping[Key, Piece]
    numbers: Mapping[Key, float]
    schedule: ScheduleState
    rank: int
    num_processes: int
    is_shared: bool = True

    def write(self, trainer: Path, group: dist.ProcessGroup | None) -> None:  # noqa: ARG002  none waits for another
        """See TrainerPart."""
        folder = trainer / PIECES
        folder.mkdir(exist_ok=True)
        counting = {key: piece for key, piece in self.pieces.items() if piece.counts}
        places = {str(key): [piece.start, *piece.shape] for key, piece in counting.items()}
        tensors = {str(key): piece.values.contiguous() for key, piece in counting.items()}
        file = folder / f"{self.rank:04d}-of-{self.num_processes:04d}.safetensors"
        save_file(tensors, file, metadata={"places": json.dumps(places)})
        if self.rank == 0:
            write_schedule(self.schedule, self.numbers, trainer)


def copy_pieces(pieces: Iterable[tuple[Key, Piece]], *, copied: bool) -> dict[Key, Piece]:
    """The pieces by key, or copies of them in the host's memory."""
    if not copied:
        return dict(pieces)
    return {
        key: Piece(piece.values.to("cpu", copy=True), piece.start, piece.shape, piece.counts) for key, piece in pieces
    }


def has_pieces(folder: Path) -> bool:
    """Whether a checkpoint is in this format."""
    return (folder / TRAINER / PIECES).is_dir()


class _Run(NamedTuple):
    """Where `size` numbers from `start` of a tensor lie."""

    file: Path
    start: int
    size: int


class PiecesStored:
    """See Stored. Raises RunError for a folder of which files are absent."""

    def __init__(self, folder: Path) -> None:
        self._runs: dict[Key, list[_Run]] = {}
        self.entries: dict[Key, Tensor | float] = {}
        for file in _files(folder / TRAINER / PIECES):
            self._take_in(file)
        self.schedule, numbers = read_schedule(folder / TRAINER / SCHEDULE)
        self.entries |= numbers

    def fill(self, targets: Mapping[Key, Tensor]) -> None:
        """See Stored."""
        for key, target in targets.items():
            if isinstance(target, DTensor):
                local, row = local_rows(target)
                self.fill_run(key, local, start=row * math.prod(target.shape[1:]))
            else:
                self.fill_run(key, target, start=0)

    def fill_run(self, key: Key, target: Tensor, *, start: int) -> None:
        """Copy the numbers of a tensor from `start` on into `target`, contiguous, as many as it has.

        Raises KeyError where the tensor is not there, ValueError where some of them are not.
        """
        numbers, filled = target.view(-1), 0
        for run in self._runs[key]:
            first, last = max(start, run.start), min(start + numbers.numel(), run.start + run.size)
            if first < last:
                with safe_open(run.file, framework="pt") as opened:
                    part = opened.get_slice(str(key))[first - run.start : last - run.start]
                numbers[first - start : last - start].copy_(part)
                filled += last - first
        if filled != numbers.numel():
            raise ValueError(f"{key} lacks {numbers.numel() - filled} of its numbers")

    def _take_in(self, file: Path) -> None:
        with safe_open(file, framework="pt") as opened:
            for text, (start, *shape) in json.loads(opened.metadata()["places"]).items():
                key, stored = Key.parse(text), opened.get_slice(text)
                self._runs.setdefault(key, []).append(_Run(file, start, math.prod(stored.get_shape())))
                if key not in self.entries:
                    self.entries[key] = torch.empty(shape, dtype=stored[:0].dtype, device="meta")


def _files(place: Path) -> list[Path]:
    """All of them, by process."""
    found = {int(match[1]): (file, int(match[2])) for file in place.iterdir() if (match := _FILE.fullmatch(file.name))}
    expected = next((count for _, count in found.values()), 0)
    if absent := sorted(set(range(max(expected, 1))) - found.keys()):
        raise RunError(
            f"{place} lacks the parts of processes {', '.join(map(str, absent))} of {expected}: copy them there from "
            "every host of the training, or put the run folder where all hosts see it"
        )
    return [found[rank][0] for rank in sorted(found)]
