"""Rows that cannot be used: how one is described, and how a list of them is told to the user.

Knows no formats and no files; whoever finds a problem raises RowError, whoever walks the rows keeps RowProblems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.chat.message import RowSource
from tunesmith.errors import DataError

_NUM_LISTED = 20


class RowError(DataError):
    """One row cannot be used. `kind` is a short name that rows share; `detail` is about this row."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers send it: restored without __init__, whose arguments are not those of Exception."""
        return _restore, (type(self), *self.args), self.__dict__


def _restore(kind: type[RowError], *args: object) -> RowError:
    return kind.__new__(kind, *args)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that cannot be used, where it stands, and why."""

    source: RowSource
    kind: str
    detail: str

    @property
    def reason(self) -> str:
        """Kind and detail in one line."""
        return f"{self.kind}: {self.detail}"

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def describe_problems(problems: Sequence[RowProblem], *, num_rows: int) -> str:
    """The message for `problems` found among `num_rows` rows: the first 20 in full, the rest counted by kind."""
    lines = [f"{len(problems)} of {num_rows} rows cannot be used:"]
    lines += [f"  {problem}" for problem in problems[:_NUM_LISTED]]
    rest = Counter(problem.kind for problem in problems[_NUM_LISTED:])
    if rest:
        counted = ", ".join(f"{count} x {kind}" for kind, count in rest.most_common())
        lines.append(f"  and {rest.total()} more: {counted}")
    lines.append("Correct these rows (rows count from 0), or set on_bad_row: skip to train without them.")
    return "\n".join(lines)
