"""`python -m tests.faults`: hurts runs in every way there is, and says whether all of them ended as if never hurt."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from tests.faults.verdict import Verdict

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: the cases of one fault on one engine."""

    fault: str
    engine: str
    cases: int
    points: int
    equal: int
    skipped: int
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 where every run ended as it must, 1 otherwise."""
    arguments = _parse(argv)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tunesmith-faults-"))
    os.environ.update(_ENVIRONMENT, TUNESMITH_CACHE=str(folder / "cache"))
    from tests.faults.plan import QUICK, WHOLE, all_cases  # loads torch, which reads the environment
    from tests.faults.suite import judge

    started = time.monotonic()
    pairs = [pair for pair in (QUICK if arguments.quick else WHOLE) if arguments.engine in (None, pair[0].name)]
    cases = all_cases(pairs, folder / "unhurt", arguments.seed, quick=arguments.quick, at_once=arguments.at_once)
    cases = [case for case in cases if arguments.only in case.fault]
    verdicts = []
    for verdict in judge(cases, folder / "hurt", at_once=arguments.at_once):
        verdicts.append(verdict)
        _tell(verdict, len(verdicts), len(cases))
    rows = _rows(verdicts)
    _print_table(rows, seconds=time.monotonic() - started)
    if arguments.json:
        content = {"seed": arguments.seed, "rows": list(map(asdict, rows)), "cases": list(map(asdict, verdicts))}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(verdict.problems for verdict in verdicts))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the part that CI runs")
    parser.add_argument("--seed", type=int, default=0, help="where the random kill points lie")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)), help="cases done at a time")
    parser.add_argument("--engine", help="only cases of single, ddp, fsdp2 or deepspeed")
    parser.add_argument("--only", default="", help="only faults with these words in their name")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--folder", type=Path, help="where runs are written; those that ended otherwise stay there")
    return parser.parse_args(argv)


def _tell(verdict: Verdict, number: int, total: int) -> None:
    """What was wrong, as soon as it is known."""
    if verdict.problems:
        print(f"[{number}/{total}] {verdict.fault} ({verdict.engine}), {verdict.name}", file=sys.stderr)
        print("\n".join(f"    {problem}" for problem in verdict.problems), file=sys.stderr)
    elif verdict.skipped:
        print(f"[{number}/{total}] {verdict.fault} ({verdict.engine}) skipped: {verdict.skipped}", file=sys.stderr)


def _rows(verdicts: Iterable[Verdict]) -> list[Row]:
    def kind(verdict: Verdict) -> tuple[str, str]:
        return verdict.fault, verdict.engine

    return [_row(*key, list(group)) for key, group in groupby(sorted(verdicts, key=kind), key=kind)]


def _row(fault: str, engine: str, verdicts: Sequence[Verdict]) -> Row:
    done = [verdict for verdict in verdicts if not verdict.skipped]
    return Row(
        fault,
        engine,
        cases=len(done),
        points=sum(verdict.points for verdict in done),
        equal=sum(not verdict.problems for verdict in done),
        skipped=len(verdicts) - len(done),
        seconds=round(sum(verdict.seconds for verdict in verdicts), 1),
    )


def _print_table(rows: Sequence[Row], *, seconds: float) -> None:
    print(f"{'fault':42} {'engine':10} {'points':>6} {'cases':>6} {'equal':>6} {'skipped':>8} {'seconds':>8}")
    for row in rows:
        print(
            f"{row.fault:42} {row.engine:10} {row.points:6} {row.cases:6} {row.equal:6} {row.skipped:8} "
            f"{row.seconds:8.1f}"
        )
    points, cases, equal = (sum(figures) for figures in zip(*((r.points, r.cases, r.equal) for r in rows), strict=True))
    print(f"{points} points in {cases} cases, {equal} of which ended equal; {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
