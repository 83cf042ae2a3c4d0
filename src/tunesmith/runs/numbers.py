"""metrics.jsonl as others read it: while it is written, half written, or damaged. Knows no tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
_TAIL_BYTES = 256 * 1024
_TAIL_LINES = 50


@dataclass(frozen=True, slots=True)
class Numbers:
    """Lines that could be read, and what is wrong with the file, if something is."""

    lines: tuple[Line, ...] = ()
    problem: str | None = None

    def last(self, name: str) -> float | None:
        """The last value of a metric; None if no line has one."""
        return next((line[name] for line in reversed(self.lines) if _is_number(line.get(name))), None)

    def values(self, name: str) -> list[float]:
        """Every value of a metric."""
        return [line[name] for line in self.lines if _is_number(line.get(name))]

    def lowest(self, name: str) -> tuple[float, int] | None:
        """The lowest value of a metric and its step; None if no line has one."""
        points = [(line[name], line["step"]) for line in self.lines if _is_number(line.get(name))]
        return min(points, default=None)


def read_numbers(file: Path) -> Numbers:
    """All lines; none if the file is absent."""
    return _read(file, last_bytes=None)


def read_last_numbers(file: Path) -> Numbers:
    """The last lines, and the last evaluation if it is not too far back: what it takes does not grow with the run."""
    return _read(file, last_bytes=_TAIL_BYTES)


def _read(file: Path, last_bytes: int | None) -> Numbers:
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            start = 0 if last_bytes is None else max(0, size - last_bytes)
            stream.seek(start)
            content = stream.read()
    except FileNotFoundError:
        return Numbers()
    except OSError as error:
        return Numbers(problem=f"{file.name} cannot be read: {error.strerror}")
    *pieces, unfinished = content.decode("utf-8", errors="replace").split("\n")
    if start:
        del pieces[:1]  # begins in the middle of a line
    lines, num_broken = _split(pieces if last_bytes is None else _worth_parsing(pieces))
    if num_broken:
        plural = "s" if num_broken > 1 else ""
        return Numbers(lines, f"{file.name} has {num_broken} line{plural} that cannot be read")
    return Numbers(lines, f"{file.name} ends in the middle of a line" if unfinished else None)


def _worth_parsing(pieces: list[str]) -> list[str]:
    last = pieces[-_TAIL_LINES:]
    evaluations = (piece for piece in reversed(pieces[:-_TAIL_LINES]) if '"eval_loss"' in piece)
    return [*islice(evaluations, 1), *last]


def _split(pieces: Iterable[str]) -> tuple[tuple[Line, ...], int]:
    """Lines of metrics, and how many others there are."""
    lines: list[Line] = []
    broken = 0
    for piece in pieces:
        line = _load(piece)
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
        else:
            broken += 1
    return tuple(lines), broken


def _load(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
