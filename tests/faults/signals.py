"""Runs that are asked to stop, by Ctrl-C, by whoever ends the job, by a terminal that closes."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from tests.faults.failures import FAILED, INTERRUPTED
from tests.faults.kill_points import KillPoint
from tests.faults.kills import LONGEST_END_S, NeverHurt, go_through, running_until
from tests.faults.moments import Moment
from tests.faults.sameness import broken_checkpoints, differences, leftovers
from tests.faults.verdict import Result, Unexpected


def stop_and_go_on(whole: NeverHurt, point: KillPoint, folder: Path) -> Result:
    """Send a signal to the processes; all must save and end with status 130 as one. Then go on."""
    command = replace(whole.command, folder=folder / "run")
    with running_until(command, point) as (team, asks):
        if asks:
            team.kill(point.victims, point.signal)
        statuses = team.wait(LONGEST_END_S)
    stopped = set(statuses) == {INTERRUPTED} and "saved in" in team.said()
    loses_nothing = point.moment is Moment.FINISHING or not (command.folder / "metrics.jsonl").exists()
    may_die = loses_nothing and all(status in (-point.signal, INTERRUPTED, FAILED) for status in statuses)
    if any(statuses) and not (stopped or may_die):
        raise Unexpected(f"{signal.Signals(point.signal).name} ended it with {statuses}:\n{team.said()}")
    problems = broken_checkpoints(command.folder)
    problems += leftovers(command.folder) if stopped else []
    go_through(command, goes_on=True)
    return Result(int(any(statuses)), (*problems, *differences(whole.command.folder, command.folder)))
