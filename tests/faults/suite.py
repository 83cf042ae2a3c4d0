"""Which cases there are, and doing them: several at a time, each in processes forked from this one."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.engines import Engine
from tests.faults.jobs import ADAPTER, Job
from tests.faults.kills import NeverHurt, go_through, run_unhurt
from tests.faults.teams import Command
from tests.faults.together import Work, done_together
from tests.faults.verdict import Case, Impossible, Result, Unexpected, Verdict

_PREPARATION_S = 300.0


def prepare(pairs: Sequence[tuple[Engine, Job]], folder: Path, *, at_once: int) -> list[NeverHurt]:
    """The runs never hurt, in the order of `pairs`. Raises Unexpected where one fails."""
    _load_what_runs_load(folder / "first")
    work = [
        Work(lambda engine=engine, job=job, place=place: _run_unhurt(engine, job, place), place, _PREPARATION_S)
        for engine, job in pairs
        for place in [folder / f"{engine.name} {job.name}"]
    ]
    prepared: dict[int, NeverHurt] = {}
    for done in done_together(work, at_once=at_once):
        if done.answer is None:
            raise Unexpected(f"a run that nobody hurt failed:\n{done.end}")
        prepared[done.number] = done.answer
    return [prepared[number] for number in range(len(pairs))]


def judge(cases: Sequence[Case], folder: Path, *, at_once: int) -> Iterator[Verdict]:
    """Do all cases; the folder of a case is kept where something was wrong."""
    work = [
        Work(lambda case=case, place=place: _do(case, place), place, case.limit_s)
        for number, case in enumerate(cases)
        for place in [folder / f"case-{number}"]
    ]
    for done in done_together(work, at_once=at_once):
        case = cases[done.number]
        answer = done.answer or Result(0, (f"its process gave no answer and ended with {done.end}",))
        if isinstance(answer, str):
            yield Verdict(case.fault, case.engine, case.name, seconds=done.seconds, skipped=answer)
        else:
            yield Verdict(case.fault, case.engine, case.name, answer.points, answer.problems, done.seconds)
        if not isinstance(answer, Result) or not answer.problems:
            shutil.rmtree(work[done.number].folder)


def _do(case: Case, folder: Path) -> Result | str:
    """The result, or why there can be none."""
    try:
        return case.hurt(folder)
    except Impossible as reason:
        return str(reason)
    except (Unexpected, TimeoutError) as error:
        return Result(1, (str(error),))


def _run_unhurt(engine: Engine, job: Job, folder: Path) -> NeverHurt:
    settings = job.prepare(folder / "job")
    return run_unhurt(Command(settings, folder / "whole", engine.num_processes, engine.words))


def _load_what_runs_load(folder: Path) -> None:
    """Import here, once, what runs import: by what a first one had loaded at its end."""
    file = folder / "modules"

    @contextlib.contextmanager
    def around(rank: int) -> Iterator[None]:
        yield
        file.write_text("\n".join(sorted(sys.modules)), encoding="utf-8")

    go_through(Command(ADAPTER.prepare(folder), folder / "run"), goes_on=False, around=around)
    for name in file.read_text(encoding="utf-8").split():
        with contextlib.suppress(ImportError):  # a module that another one made, without a file of its own
            importlib.import_module(name)
