"""The processes that make batches: killed, stopped, or given a picture that breaks while the run goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.faults.failures import INTERRUPTED, require_failure
from tests.faults.kill_points import KillPoint
from tests.faults.kills import LONGEST_END_S, NeverHurt, go_through, running_until
from tests.faults.sameness import broken_checkpoints, differences
from tests.faults.teams import Team
from tests.faults.verdict import Result, Unexpected

_PATIENCE_S = 5.0
"""Of a user who pressed Ctrl-C once."""


def kill_worker(whole: NeverHurt, point: KillPoint, folder: Path) -> Result:
    """SIGKILL to one worker of the watched process, as the system does where memory runs out."""
    command = replace(whole.command, folder=folder / "run")
    with running_until(command, point) as (team, asks):
        workers = list(_children(team.processes[point.watched].pid)) if asks else []
        for worker in workers[:1]:
            os.kill(worker, signal.SIGKILL)
        statuses = team.wait(LONGEST_END_S)
    if any(statuses):
        require_failure(team, statuses, says="was killed by SIGKILL")
    problems = broken_checkpoints(command.folder)
    go_through(command, goes_on=True)
    return Result(int(any(statuses)), (*problems, *differences(whole.command.folder, command.folder)))


def hang_worker(whole: NeverHurt, point: KillPoint, folder: Path) -> Result:
    """A worker that answers no more: Ctrl-C, once or twice, ends the run, and it can go on."""
    command = replace(whole.command, folder=folder / "run")
    with running_until(command, point) as (team, asks):
        for worker in _children(team.processes[point.watched].pid) if asks else ():
            os.kill(worker, signal.SIGSTOP)
        statuses = _interrupt_twice(team)
    if any(statuses) and set(statuses) != {INTERRUPTED}:
        raise Unexpected(f"a run whose worker hung was stopped and ended with {statuses}:\n{team.said()}")
    go_through(command, goes_on=True)
    return Result(int(any(statuses)), tuple(differences(whole.command.folder, command.folder)))


def _interrupt_twice(team: Team) -> tuple[int, ...]:
    for _ in range(2):
        team.kill(tuple(range(len(team.processes))), signal.SIGINT)
        if team.ends_within(_PATIENCE_S):
            break
    return team.wait(LONGEST_END_S)


def _children(pid: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if int(fields[1]) == pid:
            yield int(status.parent.name)
