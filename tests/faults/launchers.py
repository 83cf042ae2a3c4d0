"""Whole commands that are hurt: a rank, the launcher or everything killed, a terminal closed, all asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.commands import Launched, launching
from tests.faults.failures import FAILED, INTERRUPTED
from tests.faults.kills import LONGEST_END_S, LONGEST_RUN_S, NeverHurt
from tests.faults.sameness import broken_checkpoints, differences
from tests.faults.teams import Command
from tests.faults.verdict import Result, Unexpected


@dataclass(frozen=True, slots=True)
class Blow:
    """What is done to a command some time after a line of metrics was written, and the status it must end with."""

    name: str
    strike: Callable[[Launched, int], None]
    status: int
    says: str
    line: int
    delay_s: float
    rank: int

    def __str__(self) -> str:
        return f"{self.name}, rank {self.rank}, {self.delay_s:.2f} s after line {self.line}"


def kill_rank(launched: Launched, rank: int) -> None:
    """One of its processes."""
    os.kill(launched.ranks()[rank], signal.SIGKILL)


def kill_launcher(launched: Launched, rank: int) -> None:
    """Only the process that the user started."""
    launched.process.kill()


def kill_everything(launched: Launched, rank: int) -> None:
    """As a host that loses its power."""
    for pid in launched.everything():
        os.kill(pid, signal.SIGKILL)


def press_ctrl_c(launched: Launched, rank: int) -> None:
    """The terminal sends it to every process of its group."""
    os.killpg(launched.process.pid, signal.SIGINT)


def ask_to_stop(launched: Launched, rank: int) -> None:
    """As schedulers do: the launcher alone is told."""
    launched.process.terminate()


BLOWS = {
    "rank killed": (kill_rank, FAILED, "killed by SIGKILL"),
    "launcher killed": (kill_launcher, -signal.SIGKILL, ""),
    "everything killed": (kill_everything, -signal.SIGKILL, ""),
    "Ctrl-C": (press_ctrl_c, INTERRUPTED, "saved in"),
    "SIGTERM to the launcher": (ask_to_stop, INTERRUPTED, "saved in"),
}
"""By name: what is done, the command's exit status, and what it says."""


def strike_and_go_on(whole: NeverHurt, blow: Blow, folder: Path) -> Result:
    """The command ends with its status, no process outlives it, and started again it goes on."""
    command = on_this_machine(whole.command, folder / "run")
    with launching(command) as launched:
        _strike(launched, blow)
        status = launched.wait(LONGEST_END_S)
        launched.require_no_orphans()
        if status != blow.status or blow.says not in launched.said():
            raise Unexpected(f"ended with {status} instead of {blow.status} and {blow.says!r}:\n{launched.said()}")
    problems = broken_checkpoints(command.folder)
    _go_on(command)
    return Result(1, (*problems, *differences(whole.command.folder, command.folder)))


def kill_rank_and_restart(whole: NeverHurt, blow: Blow, folder: Path) -> Result:
    """With max_restarts the command starts all processes again by itself, and ends well."""
    command = on_this_machine(whole.command, folder / "run")
    with launching(command, "max_restarts=1") as launched:
        _strike(launched, blow)
        if status := launched.wait(LONGEST_RUN_S):
            raise Unexpected(f"ended with {status}, though it might start again:\n{launched.said()}")
        launched.require_no_orphans()
    return Result(1, tuple(differences(whole.command.folder, command.folder)))


def on_this_machine(command: Command, folder: Path) -> Command:
    """The same, with all its processes started by one launcher."""
    return replace(command, folder=folder, more=(*command.more, f"nproc={command.num_processes}"))


def _strike(launched: Launched, blow: Blow) -> None:
    launched.wait_for_lines(blow.line)
    time.sleep(blow.delay_s)
    blow.strike(launched, blow.rank)


def _go_on(command: Command) -> None:
    with launching(command, goes_on=True) as launched:
        if status := launched.wait(LONGEST_RUN_S):
            raise Unexpected(f"going on ended with {status}:\n{launched.said()}")
