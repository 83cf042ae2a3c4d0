"""Which random faults are done to a run: one function for each kind of fault."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.faults import launchers
from tests.faults.damage import damage_and_go_on, draw_damage
from tests.faults.disks import fill_disk, limit_files
from tests.faults.engines import Engine
from tests.faults.jobs import ADAPTER, DOCUMENTS, SINGLES, WHOLE_MODEL, Job
from tests.faults.kill_points import KillPoint, draw
from tests.faults.kills import NeverHurt, kill_and_go_on
from tests.faults.loader_workers import hang_worker, kill_worker
from tests.faults.moments import Moment
from tests.faults.networks import Drop, LaunchedOutage, Outage, cut_off_and_go_on, cut_off_and_restart
from tests.faults.recovery import meet_nan_and_stop, run_out_above, run_out_once
from tests.faults.signals import stop_and_go_on
from tests.faults.verdict import Case, Result

What = TypeVar("What")
_STEPS = (Moment.FORWARD, Moment.BACKWARD, Moment.OPTIMISER)
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_NOT_LAST = 0.8


@dataclass(frozen=True, slots=True)
class Subject:
    """A job on an engine, its run never hurt, and what draws its random faults.

    often: how many of each kind
    """

    engine: Engine
    job: Job
    whole: NeverHurt
    random: Random
    often: int

    def case(self, fault: str, what: What, hurt: Callable[[NeverHurt, What, Path], Result]) -> Case:
        """`what` is done to a run like it."""
        return Case(fault, self.engine.name, f"{self.job.name}: {_words(what)}", partial(hurt, self.whole, what))

    @property
    def several(self) -> bool:
        """Whether it has more than one process."""
        return self.engine.num_processes > 1

    @property
    def everybody(self) -> tuple[int, ...]:
        """All ranks."""
        return tuple(range(self.engine.num_processes))

    def moments(self) -> list[Moment]:
        """What any of its processes came to."""
        return self.whole.counts.moments()

    def point(self, moment: Moment | None) -> KillPoint:
        """A random one in a moment, or (None) at a random time."""
        return draw(self.random, self.whole.counts, moment)


def kills(subject: Subject) -> Iterator[Case]:
    """In every moment, at any time, and again after going on."""
    moments = [*subject.moments(), None]
    for moment in moments * subject.often:
        yield subject.case("SIGKILL", (subject.point(moment),), kill_and_go_on)
    for _ in range(2 * subject.often):
        twice = tuple(subject.point(subject.random.choice(moments)) for _ in range(2))
        yield subject.case("SIGKILL, again after going on", twice, kill_and_go_on)


def requests_to_stop(subject: Subject) -> Iterator[Case]:
    """SIGTERM and SIGINT, to all processes or to one."""
    for number in _STOPPING * subject.often:
        point = subject.point(subject.random.choice(subject.moments()))
        victims = subject.random.choice([subject.everybody, (point.watched,)])
        early = max(1, int(point.number * _NOT_LAST))  # a run that is nearly through ends before it stops
        stopped = replace(point, number=early, signal=number, victims=victims, file_bytes=None)
        yield subject.case("SIGTERM, SIGINT", stopped, stop_and_go_on)


def full_disks(subject: Subject) -> Iterator[Case]:
    """Room for a random share of what the run writes, and a random limit on what a file may have."""
    if subject.job not in (ADAPTER, DOCUMENTS, WHOLE_MODEL):
        return
    for _ in range(2 * subject.often):
        yield subject.case("full disk", subject.random.uniform(0.02, 0.95), fill_disk)
    largest = max(file.stat().st_size for file in subject.whole.command.folder.rglob("*") if file.is_file())
    for _ in range(subject.often):
        yield subject.case("file too large", int(subject.random.uniform(0.1, 0.99) * largest), limit_files)


def damages(subject: Subject) -> Iterator[Case]:
    """A bit flipped in the last checkpoint, or a file of it cut."""
    for _ in range(2 * subject.often):
        yield subject.case("damaged checkpoint", draw_damage(subject.random), damage_and_go_on)


def workers(subject: Subject) -> Iterator[Case]:
    """A loader's worker that is killed, or answers no more, while there is work for it."""
    if subject.job is not WHOLE_MODEL:
        return
    for fault, hurt in (("killed", kill_worker), ("hangs", hang_worker)):
        for _ in range(2 * subject.often):
            point = subject.point(subject.random.choice(_STEPS))
            early = max(1, point.number // 2)  # later all batches may have been made
            point = replace(point, number=early, file_bytes=None, victims=())
            yield subject.case(f"loader's worker {fault}", point, hurt)


def recoveries(subject: Subject) -> Iterator[Case]:
    """Memory that runs out in a random operator, or above a random size; losses that are NaN from some step on."""
    if subject.job is SINGLES:
        for moment in (Moment.FORWARD, Moment.BACKWARD) * subject.often:
            yield subject.case("out of memory", replace(subject.point(moment), file_bytes=None), run_out_once)
    for _ in range(subject.often):
        if subject.job is WHOLE_MODEL:  # it has no dropout, which halves of a micro-batch would draw otherwise
            yield subject.case("out of memory, batches split", subject.random.randint(80, 120), run_out_above)
        if subject.job is ADAPTER:
            yield subject.case("NaN", subject.random.randint(2, 5), meet_nan_and_stop)


def outages(subject: Subject) -> Iterator[Case]:
    """A host that the others no longer reach."""
    if not subject.several or subject.job is not WHOLE_MODEL:
        return
    for drop in tuple(Drop) * subject.often:
        point = replace(subject.point(subject.random.choice(_STEPS)), file_bytes=None, victims=())
        yield subject.case("network", Outage(drop, subject.random.choice(subject.everybody), point), cut_off_and_go_on)


def whole_commands(subject: Subject) -> Iterator[Case]:
    """The launcher and all it starts, as real processes."""
    for name in launchers.BLOWS:
        yield subject.case("launcher", _blow(subject, name), launchers.strike_and_go_on)
    for _ in range(subject.often):
        yield subject.case("launcher starts again", _blow(subject, "rank killed"), launchers.kill_rank_and_restart)
        outage = LaunchedOutage(subject.random.choice(subject.everybody), line=subject.random.randint(4, 40))
        yield subject.case("network, launchers start again", outage, cut_off_and_restart)


FORKED = (kills, requests_to_stop, full_disks, damages, workers, recoveries, outages)
"""Faults of runs that are forked, at points of what goes on inside of them."""
LAUNCHED = (whole_commands,)
"""Faults of commands, at points that are seen from outside."""


def _blow(subject: Subject, name: str) -> launchers.Blow:
    strike, status, says = launchers.BLOWS[name]
    random = subject.random
    line, rank = random.randint(4, 40), random.choice(subject.everybody)
    return launchers.Blow(name, strike, status, says, line, random.uniform(0.0, 0.1), rank)


def _words(what: object) -> str:
    return "; ".join(map(str, what)) if isinstance(what, tuple) else str(what)
