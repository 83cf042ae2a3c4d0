"""Checkpoints that a disk has damaged: a flipped bit, a file cut short."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.faults.failures import require_failure
from tests.faults.kills import LONGEST_RUN_S, NeverHurt, go_through
from tests.faults.sameness import differences
from tests.faults.teams import Command, starting
from tests.faults.verdict import Result

_FOR_OTHERS = ("README.md", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
_ADAPTER_FOR_OTHERS = ("adapter_model.safetensors", "adapter_config.json")
"""Files of a checkpoint that a run does not go on from: an adapter stands in trainer/ a second time, bit for bit."""


@dataclass(frozen=True, slots=True)
class Damage:
    """`do` to a file of the last checkpoint, at a `share` of its length."""

    name: str
    share: float
    number: int
    do: Callable[[Path, float], None]

    def __str__(self) -> str:
        return f"{self.name} at {self.share:.4f} of file {self.number}"


def flip_bit(file: Path, share: float) -> None:
    """Of the byte there, the lowest bit."""
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 1
    file.write_bytes(content)


def cut_short(file: Path, share: float) -> None:
    """Leave as much of it."""
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * share))


def draw_damage(random: Random) -> Damage:
    """A random one."""
    name, do = random.choice([("a flipped bit", flip_bit), ("a flipped bit", flip_bit), ("cut", cut_short)])
    return Damage(name, random.random(), random.randrange(1000), do)


def damage_and_go_on(whole: NeverHurt, damage: Damage, folder: Path) -> Result:
    """Going on from the damaged checkpoint is refused, or harmless; from the one before it works."""
    command = replace(whole.command, folder=folder / "run")
    shutil.copytree(whole.command.folder, command.folder)
    for file in command.folder.glob("*.safetensors"):
        file.unlink()  # the run did not come to its end
    before, last = sorted(command.folder.glob("checkpoints/step-*"), key=lambda place: int(place.name[5:]))[-2:]
    files = sorted(
        file for file in last.rglob("*") if file.is_file() and file.name not in (*_FOR_OTHERS, *_ADAPTER_FOR_OTHERS)
    )
    damage.do(files[damage.number % len(files)], damage.share)
    if _is_harmless(command, last):
        shutil.rmtree(last)  # what is judged is the run that went on from it
        shutil.copytree(whole.command.folder / last.relative_to(command.folder), last)
    else:
        go_through(replace(command, more=(*command.more, f"resume_from_checkpoint={before}")), goes_on=False)
    return Result(1, tuple(differences(whole.command.folder, command.folder)))


def _is_harmless(command: Command, damaged: Path) -> bool:
    """Whether the run went on to its end. Raises Unexpected where it neither did nor named the checkpoint."""
    with starting(command, goes_on=True) as team:
        statuses = team.wait(LONGEST_RUN_S)
    if not any(statuses):
        return True
    require_failure(team, statuses, says=str(damaged))
    return False
