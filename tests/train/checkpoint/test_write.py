"""A checkpoint of several processes is there with every part, or not at all and all of them know why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch.distributed as dist

from tests.train.together import free_ports, in_processes, meet_at
from tunesmith.errors import RunError
from tunesmith.train.checkpoint.draft import Draft
from tunesmith.train.checkpoint.progress import Progress, read_progress
from tunesmith.train.checkpoint.write import write_together
from tunesmith.train.steps.place import Place
from tunesmith.train.steps.state import TrainState


@dataclass(frozen=True)
class Note:
    """A part that is a line of text, from a process whose disk may be full."""

    rank: int
    full: bool
    is_shared: bool = True

    def write(self, trainer, group):
        if self.full:
            raise OSError(28, "No space left on device")
        (trainer / f"part-{self.rank}.txt").write_text(f"of process {self.rank}")


def _write_three(port: int, folder: str) -> list[str]:
    """What became of three checkpoints: a whole one, one whose second part fails, one whose model fails."""
    meet_at(port)
    dist.init_process_group("gloo")
    rank, group = dist.get_rank(), dist.new_group(backend="gloo")

    def write_model(place, weights, *, full=False):
        if full:
            raise OSError(28, "No space left on device")
        (place / "model.txt").write_text("the model")

    def full_disk(place, weights):
        write_model(place, weights, full=True)

    ends = []
    for step, (full_part, writes) in enumerate([(None, write_model), (1, write_model), (None, full_disk)], start=1):
        draft = Draft(writes, None, Note(rank, rank == full_part), Progress(TrainState(Place(step)), {}, {}, {}))
        try:
            write_together(Path(folder) / f"step-{step}", draft, group)
            ends.append("written")
        except RunError as error:
            ends.append(str(error))
    dist.destroy_process_group()
    return ends


@pytest.mark.slow
def test_all_parts_or_none_and_the_same_message_everywhere(tmp_path):
    first, second = in_processes(_write_three, free_ports(1)[0], str(tmp_path))
    assert first == second
    assert first[0] == "written"
    assert "step-2 cannot be written: [Errno 28] No space left on device" in first[1]
    assert "step-3 cannot be written: [Errno 28] No space left on device" in first[2]
    assert [place.name for place in tmp_path.iterdir()] == ["step-1"]
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.txt"))
    assert files == ["step-1/model.txt", "step-1/trainer/part-0.txt", "step-1/trainer/part-1.txt"]
    assert read_progress(tmp_path / "step-1").state.step == 1
