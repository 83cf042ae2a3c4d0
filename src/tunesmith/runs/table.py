"""Runs as a table of plain text, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tunesmith.runs.durations import describe_duration
from tunesmith.runs.overview import Overview

_HEADINGS = ("RUN", "STATE", "STEP", "LOSS", "HELD-OUT", "TOKENS/S", "AGE", "ETA", "NOTE")
_NUMBERS = range(2, 8)
_NOTHING = "-"
_LONGEST_NOTE = 120
"""Characters; --json has all of it."""


def render_table(runs: Iterable[Overview], *, now: datetime | None = None) -> str:
    """A line for each, under a line of headings."""
    at = now or datetime.now(UTC)
    oldest = datetime.min.replace(tzinfo=UTC)
    newest_first = sorted(runs, key=lambda run: run.started or oldest, reverse=True)
    return render_columns([_HEADINGS, *(_cells(run, at) for run in newest_first)], numbers=_NUMBERS)


def render_columns(rows: Sequence[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """Rows of equally many cells, one under the other; those of columns `numbers` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = frozenset(numbers)
    lines = (
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def describe_place(path: Path) -> str:
    """A path as short as it can be typed from here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def describe_steps(run: Overview) -> str:
    """120/500, or ~500 where the end is an estimate."""
    if run.step is None:
        return _NOTHING
    if run.total_steps is None:
        return str(run.step)
    about = "" if run.exact else "~"
    return f"{run.step}/{about}{max(run.step, run.total_steps)}"


def _cells(run: Overview, now: datetime) -> tuple[str, ...]:
    return (
        describe_place(run.path),
        run.state,
        describe_steps(run),
        _NOTHING if run.loss is None else f"{run.loss:.4f}",
        _NOTHING if run.eval_loss is None else f"{run.eval_loss:.4f}",
        _NOTHING if run.tokens_per_s is None else f"{run.tokens_per_s:,.0f}",
        _NOTHING if run.started is None else describe_duration((now - run.started).total_seconds()),
        _NOTHING if run.eta_s is None else describe_duration(run.eta_s),
        _shorten("; ".join(note for note in (run.reason, *run.problems) if note)),
    )


def _shorten(note: str) -> str:
    return note if len(note) <= _LONGEST_NOTE else f"{note[: _LONGEST_NOTE - 1].rstrip()}…"
