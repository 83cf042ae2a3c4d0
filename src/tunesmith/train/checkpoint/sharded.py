"""The format of engines that cut weights and optimiser over the processes: torch's own distributed checkpoint.

trainer/sharded/         every process's part of every tensor, by "state/name", and where each lies
trainer/schedule.json    schedule and scaler, and what the optimiser keeps as plain numbers

Any number of processes can read it, one with whole tensors too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_saver import save

from tunesmith.errors import RunError
from tunesmith.train.checkpoint.held import Key
from tunesmith.train.checkpoint.progress import TRAINER
from tunesmith.train.checkpoint.schedule_state import ScheduleState
from tunesmith.train.folder.atomic import write_text

SHARDED, SCHEDULE = "sharded", "schedule.json"


def write_shards(tensors: Mapping[Key, Tensor], trainer: Path, *, group: dist.ProcessGroup | None) -> None:
    """Write this process's parts. For all processes of `group` together, which must work on the CPU.

    Raises RuntimeError in all of them where one fails.
    """
    state: dict[str, Any] = {str(key): tensor for key, tensor in tensors.items()}
    try:
        save(state, checkpoint_id=trainer / SHARDED, process_group=group, no_dist=group is None)
    except CheckpointException as error:
        rank, (reason, _) = min(error.failures.items())
        raise RuntimeError(f"process {rank}: {reason}") from error  # torch's own is no Exception


def write_schedule(schedule: ScheduleState, numbers: Mapping[Key, float], trainer: Path) -> None:
    """The first process's part."""
    content = {"schedule": schedule.to_json(), "numbers": {str(key): value for key, value in numbers.items()}}
    write_text(trainer / SCHEDULE, json.dumps(content, indent=1))


def is_sharded(folder: Path) -> bool:
    """Whether a checkpoint is in this format."""
    return (folder / TRAINER / SHARDED / ".metadata").is_file()


class ShardedStored:
    """See Stored. Raises RunError for a folder of which parts are absent."""

    def __init__(self, folder: Path) -> None:
        place = folder / TRAINER / SHARDED
        self._reader = FileSystemReader(place)
        self._metadata = self._reader.read_metadata()
        self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)
        absent = {
            str(info.relative_path)
            for info in self._metadata.storage_data.values()
            if not (place / info.relative_path).is_file()
        }
        if absent:
            raise RunError(
                f"{place} lacks {', '.join(sorted(absent))}: parts that other processes wrote. Copy them there from "
                "every host of the training, or put the run folder where all hosts see it"
            )
        self.schedule, numbers = read_schedule(folder / TRAINER / SCHEDULE)
        self.entries: dict[Key, Tensor | float] = {**_shapes(self._metadata.state_dict_metadata), **numbers}

    def fill(self, targets: Mapping[Key, Tensor]) -> None:
        """See Stored."""
        planner = DefaultLoadPlanner()
        planner.set_up_planner({str(key): target for key, target in targets.items()}, self._metadata, True)
        self._reader.read_data(planner.create_local_plan(), planner).wait()


def _shapes(metadata: Mapping[str, Any]) -> dict[Key, Tensor]:
    return {
        Key.parse(text): torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        for text, entry in metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def read_schedule(file: Path) -> tuple[ScheduleState, dict[Key, float]]:
    """What write_schedule wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    numbers = cast("dict[str, float]", content["numbers"])
    return ScheduleState(**content["schedule"]), {Key.parse(text): value for text, value in numbers.items()}
