"""What became of a run that was hurt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Unexpected(Exception):
    """A run did what it must not."""


class Impossible(Exception):
    """This machine cannot do the fault."""


@dataclass(frozen=True, slots=True)
class Result:
    """points: how often the run was hurt; problems: what was not as it must be."""

    points: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the run it is done to.

    fault, engine: its row in the table
    name:          what tells it apart from the other cases of its row, enough to repeat it
    hurt:          does it, in a folder of its own. Raises Unexpected, TimeoutError or Impossible
    limit_s:       when it is taken for hanging
    """

    fault: str
    engine: str
    name: str
    hurt: Callable[[Path], Result]
    limit_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one case; `skipped`: why it could not be done here."""

    fault: str
    engine: str
    name: str
    points: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: str | None = None
