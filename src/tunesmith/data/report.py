"""What became of every row: read, kept, cut, dropped, skipped, and how many tokens that makes.

`data_report.json` in the run folder is this. Knows nothing of how rows are read or encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.encoded import Encoded
from tunesmith.data.problem import RowProblem

NUM_EXAMPLES = 100
"""Rows named for each reason; the others are counted."""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """One dataset: rows_read = rows_kept + dropped + skipped; `cut` rows are among those kept."""

    name: str
    place: str
    used_for: str
    rows_read: int
    rows_kept: int
    cut: int
    dropped: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over examples. `tokens` counts all of them, media's included."""

    rows: int
    tokens: int
    supervised_tokens: int
    media_tokens: int
    media: int
    longest_tokens: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """All of it. `cut`, `dropped` (too long) and `skipped` (unusable) name their rows and reasons."""

    datasets: tuple[DatasetReport, ...]
    train: Totals
    eval: Totals | None
    cut: tuple[RowProblem, ...]
    dropped: tuple[RowProblem, ...]
    skipped: tuple[RowProblem, ...]

    @property
    def rows_read(self) -> int:
        """Rows read from all datasets."""
        return sum(dataset.rows_read for dataset in self.datasets)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: counts, and for every reason up to NUM_EXAMPLES rows."""
        return {
            "rows": {
                "read": self.rows_read,
                "train": self.train.rows,
                "eval": self.eval.rows if self.eval else 0,
                "cut": len(self.cut),
                "dropped": len(self.dropped),
                "skipped": len(self.skipped),
            },
            "train": asdict(self.train),
            "eval": asdict(self.eval) if self.eval else None,
            "datasets": [asdict(dataset) for dataset in self.datasets],
            "cut": _by_reason(self.cut),
            "dropped": _by_reason(self.dropped),
            "skipped": _by_reason(self.skipped),
        }

    def write(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def summary(self) -> list[str]:
        """Lines for a run's header."""
        lines = [f"train: {_describe(self.train)}"]
        if self.eval is not None:
            lines.append(f"held out: {_describe(self.eval)}")
        lost = {"cut to fit": self.cut, "dropped as too long": self.dropped, "skipped as unusable": self.skipped}
        told = [
            f"{len(rows):,} {what} (first: {rows[0].source}: {rows[0].detail})" for what, rows in lost.items() if rows
        ]
        return [*lines, *(f"of {self.rows_read:,} rows read, {line}" for line in told)]


def sum_up(examples: Sequence[Encoded]) -> Totals:
    """The totals of `examples`."""
    return Totals(
        rows=len(examples),
        tokens=sum(len(example) for example in examples),
        supervised_tokens=sum(example.num_supervised for example in examples),
        media_tokens=sum(example.num_media_tokens for example in examples),
        media=sum(len(example.media) for example in examples),
        longest_tokens=max((len(example) for example in examples), default=0),
    )


def _describe(totals: Totals) -> str:
    share = totals.supervised_tokens / max(totals.tokens, 1)
    media = f", {totals.media:,} images of {totals.media_tokens:,} tokens" if totals.media else ""
    return (
        f"{totals.rows:,} rows, {totals.tokens:,} tokens, {totals.supervised_tokens:,} in the loss ({share:.0%})"
        f"{media}, longest {totals.longest_tokens:,}"
    )


def _by_reason(rows: Iterable[RowProblem]) -> dict[str, Any]:
    reasons: dict[str, Any] = {}
    for row in rows:
        reason = reasons.setdefault(row.kind, {"rows": 0, "examples": []})
        reason["rows"] += 1
        if len(reason["examples"]) < NUM_EXAMPLES:
            reason["examples"].append({"file": row.source.file, "row": row.source.row, "detail": row.detail})
    return reasons
