"""One finding: how bad, what was seen, in which rows, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.chat.message import RowSource
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.report import Reason
from tunesmith.data.report.survey import Survey

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

Check = Callable[[Survey], Iterator["Finding"]]

_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    id:       a short name that never changes, for tools
    severity: error: the run would stop or be wasted; warning: part of it may be; note: worth knowing
    title:    what was seen, in one line
    evidence: the first rows that show it, each with what it shows
    advice:   what to do
    """

    id: str
    severity: Severity
    title: str
    advice: str
    evidence: tuple[RowProblem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rows = [{"file": row.source.file, "row": row.source.row, "detail": row.detail} for row in self.evidence]
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "advice": self.advice,
            "evidence": rows,
        }

    def __str__(self) -> str:
        shown = "; ".join(f"{row.source}: {row.detail}" for row in self.evidence[:_NUM_SHOWN])
        return f"{self.title}{f' ({shown})' if shown else ''}. {self.advice}"


def reason_named(survey: Survey, kind: str) -> Reason:
    """The rows that show the sign `kind`; none of them where no row does."""
    return next((reason for reason in survey.signs if reason.kind == kind), Reason(kind, 0, ()))


def num_kept(survey: Survey) -> int:
    """Rows that are trained on or held out."""
    held_out = survey.report.eval
    return survey.report.train.rows + (held_out.rows if held_out else 0)


def share(part: int, whole: int) -> float:
    """`part` of `whole`, 0 of nothing."""
    return part / whole if whole else 0.0


def percent(part: int, whole: int) -> str:
    """`part` of `whole` for people: 37 %, 0.4 %."""
    value = 100 * share(part, whole)
    return f"{value:.0f} %" if value >= 1 or not value else f"{value:.1g} %"


def evidence_at(source: RowSource | None, detail: str) -> tuple[RowProblem, ...]:
    """One row as evidence, nothing for None."""
    return () if source is None else (RowProblem(source, "", detail),)
