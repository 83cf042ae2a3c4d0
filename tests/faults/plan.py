"""All cases of the suite, and the part of them that CI does. Random faults come from the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from tests.faults import jobs
from tests.faults.draws import FORKED, LAUNCHED, Subject
from tests.faults.engines import DDP, DEEPSPEED, FSDP2, SINGLE, Engine
from tests.faults.jobs import Job
from tests.faults.suite import prepare
from tests.faults.verdict import Case

Pairs = Sequence[tuple[Engine, Job]]

WHOLE: Pairs = (
    *((SINGLE, job) for job in jobs.JOBS),
    *((DDP, job) for job in (jobs.ADAPTER, jobs.WHOLE_MODEL, jobs.PICTURES, jobs.SINGLES, jobs.BACKGROUND, jobs.LONG)),
    *((FSDP2, job) for job in (jobs.ADAPTER, jobs.WHOLE_MODEL, jobs.BACKGROUND)),
    (DEEPSPEED, jobs.WHOLE_MODEL),
)
QUICK: Pairs = ((SINGLE, jobs.ADAPTER), (DDP, jobs.WHOLE_MODEL))
_QUICK_ONE_IN = 3
"""Of the cases with several processes, which take their time."""


def all_cases(pairs: Pairs, folder: Path, seed: int, *, quick: bool, at_once: int) -> list[Case]:
    """Prepares the runs never hurt in `folder`, and says what is to be done to others like them."""
    subjects = [
        Subject(engine, job, whole, Random(f"{seed} {engine.name} {job.name}"), often=1 if quick else 2)
        for (engine, job), whole in zip(pairs, prepare(pairs, folder, at_once=at_once), strict=True)
    ]
    every = {subject.engine: _QUICK_ONE_IN if quick and subject.engine.num_processes > 1 else 1 for subject in subjects}
    return [case for subject in subjects for case in _cases(subject)[:: every[subject.engine]]]


def _cases(subject: Subject) -> list[Case]:
    return [case for kind in _kinds(subject.job) for case in kind(subject)]


def _kinds(job: Job) -> Sequence[Callable[[Subject], Iterator[Case]]]:
    return LAUNCHED if job is jobs.LONG else FORKED
