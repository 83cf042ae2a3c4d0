"""Runs whose processes are killed at random points, once or again and again, and that go on until they are through."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.kill_points import Counts, KillPoint, count_events, die_at
from tests.faults.moments import Moment
from tests.faults.sameness import differences
from tests.faults.teams import Around, Command, Team, starting
from tests.faults.verdict import Result, Unexpected

LONGEST_RUN_S = 120.0
LONGEST_END_S = 60.0
"""What processes may take to end when one of them was killed."""


@dataclass(frozen=True, slots=True)
class NeverHurt:
    """The run to compare with: its command, and what happened in it."""

    command: Command
    counts: Counts


def run_unhurt(command: Command) -> NeverHurt:
    """Run it twice, once with its events counted, which must not change it. Raises Unexpected."""
    counted = replace(command, folder=command.folder.with_name("counted"))
    of_rank = _count(counted)
    started = time.monotonic()
    go_through(command, goes_on=False)
    if differing := differences(command.folder, counted.folder):
        raise Unexpected(f"two runs that nobody hurt differ: {'; '.join(differing)}")
    return NeverHurt(command, Counts(of_rank, time.monotonic() - started))


def kill_and_go_on(whole: NeverHurt, points: tuple[KillPoint, ...], folder: Path) -> Result:
    """Kill it at one point after the other, each time going on, and compare its end with the run never hurt."""
    command = replace(whole.command, folder=folder / "run")
    kills = 0
    for attempt, point in enumerate(points):
        kills += _kill(command, point, goes_on=attempt > 0)
    go_through(command, goes_on=True)
    return Result(kills, tuple(differences(whole.command.folder, command.folder)))


def go_through(command: Command, *, goes_on: bool, around: Around | None = None) -> Team:
    """Run it to its end. Raises Unexpected where a process does not end well."""
    with starting(command, goes_on=goes_on, around=around) as team:
        statuses = team.wait(LONGEST_RUN_S)
    if any(statuses):
        raise Unexpected(f"a run that nobody hurt ended with {statuses}:\n{team.said()}")
    return team


@contextmanager
def running_until(command: Command, point: KillPoint, *, goes_on: bool = False) -> Iterator[tuple[Team, bool]]:
    """The team when it is at `point`, and whether it asks for the fault; else it came to its end, or does it itself."""
    with _bell() as (called, call):

        @contextmanager
        def around(rank: int) -> Iterator[None]:
            os.close(called)
            if rank == point.watched:
                die_at(point, rank=rank, call=lambda: os.write(call, b"!") and None)
            yield

        with starting(command, goes_on=goes_on, around=around) as team:
            os.close(call)
            asks = bool(os.read(called, 1))
            if asks:
                time.sleep(point.delay_s)
            yield team, asks


def _kill(command: Command, point: KillPoint, *, goes_on: bool) -> bool:
    """Run it until `point` and kill it there; whether it came to that before its end."""
    with running_until(command, point, goes_on=goes_on) as (team, asks):
        if asks:
            team.kill(point.victims)
        statuses = team.wait(LONGEST_END_S)
    for rank, status in enumerate(statuses):
        if rank in point.victims and status < 0:
            continue
        if status not in (0, 1) or "Traceback" in team.processes[rank].said(20_000):
            raise Unexpected(f"rank {rank} ended with {status}:\n{team.said()}")
    return any(statuses)


@contextmanager
def _bell() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe by which a process calls for its death."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        os.close(ends[0])


def _count(command: Command) -> tuple[dict[Moment, int], ...]:
    """The run's events by rank, each written down by its process when it ends."""
    files = [command.folder.with_name(f"events-{rank}.json") for rank in range(command.num_processes)]

    @contextmanager
    def around(rank: int) -> Iterator[None]:
        counter: Counter[Moment] = Counter()
        count_events(counter)
        yield
        files[rank].write_text(json.dumps(counter), encoding="utf-8")

    go_through(command, goes_on=False, around=around)
    counts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return tuple({Moment(name): number for name, number in of_rank.items()} for of_rank in counts)
