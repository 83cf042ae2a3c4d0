"""What became of every row: read, kept, cut, dropped, skipped by reason, and how many tokens that makes.

`data_report.json` in the run folder is a DataReport; `report_builder.py` collects one row by row. Knows nothing of
how rows are read or encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.lengths import Lengths


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """One dataset: rows_read = rows_kept + dropped + skipped; `cut` rows are among those kept.

    num_rows: how many rows it has, None where nobody counted them (streaming)
    tokens:   of the kept rows
    """

    name: str
    place: str
    used_for: str
    rows_read: int
    rows_kept: int
    cut: int
    dropped: int
    skipped: int
    tokens: int = 0
    num_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over kept examples. `tokens` counts all of them but padding, media's included.

    padding_tokens: positions of batches that held no token, None where no batch was made
    """

    rows: int
    tokens: int
    supervised_tokens: int
    media_tokens: int
    images: int
    videos: int
    audios: int
    padding_tokens: int | None
    lengths: Lengths

    @property
    def media(self) -> int:
        """Images, videos and audio clips."""
        return self.images + self.videos + self.audios

    @property
    def longest_tokens(self) -> int:
        """Length of the longest example."""
        return self.lengths.longest

    @property
    def prompt_tokens(self) -> int:
        """Tokens outside the loss that stand for no medium."""
        return self.tokens - self.supervised_tokens - self.media_tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the shares of supervised, prompt, media and padding tokens add up to 1."""
        parts = {
            "supervised": self.supervised_tokens,
            "prompt": self.prompt_tokens,
            "media": self.media_tokens,
            "padding": self.padding_tokens,
        }
        positions = max(self.tokens + (self.padding_tokens or 0), 1)
        shares = {name: None if count is None else round(count / positions, 6) for name, count in parts.items()}
        more = {"media": self.media, "prompt_tokens": self.prompt_tokens, "longest_tokens": self.longest_tokens}
        return {**asdict(self), **more, "shares": shares}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why rows were cut, dropped or skipped: how many, and the first of them."""

    kind: str
    rows: int
    examples: tuple[RowProblem, ...]


@dataclass(frozen=True, slots=True)
class Reasons:
    """The rows that were cut, dropped or skipped, by reason in the order of their first row."""

    reasons: tuple[Reason, ...] = ()

    def __len__(self) -> int:
        return sum(reason.rows for reason in self.reasons)

    def __iter__(self) -> Iterator[Reason]:
        return iter(self.reasons)

    @property
    def first(self) -> RowProblem:
        """The first row of the first reason; there must be one."""
        return self.reasons[0].examples[0]

    def to_dict(self) -> dict[str, Any]:
        """By kind: the number of rows, and examples with file, row and detail."""
        return {
            reason.kind: {"rows": reason.rows, "examples": [_place(problem) for problem in reason.examples]}
            for reason in self.reasons
        }


@dataclass(frozen=True, slots=True)
class DataReport:
    """All of it. `cut`, `dropped` (too long) and `skipped` (unusable) name their first rows and reasons."""

    datasets: tuple[DatasetReport, ...]
    cutoff_len: int
    train: Totals
    eval: Totals | None
    cut: Reasons = Reasons()
    dropped: Reasons = Reasons()
    skipped: Reasons = Reasons()

    @property
    def rows_read(self) -> int:
        """Rows read from all datasets."""
        return sum(dataset.rows_read for dataset in self.datasets)

    @property
    def num_rows(self) -> int | None:
        """Rows there are, None if no one knows (streaming)."""
        counts = [dataset.num_rows for dataset in self.datasets]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def complete(self) -> bool:
        """Whether every row there is was looked at."""
        return self.num_rows is not None and self.rows_read >= self.num_rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: counts, and for every reason its first rows."""
        return {
            "complete": self.complete,
            "rows": {
                "read": self.rows_read,
                "of": self.num_rows,
                "train": self.train.rows,
                "eval": self.eval.rows if self.eval else 0,
                "cut": len(self.cut),
                "dropped": len(self.dropped),
                "skipped": len(self.skipped),
            },
            "cutoff_len": self.cutoff_len,
            "train": self.train.to_dict(),
            "eval": self.eval.to_dict() if self.eval else None,
            "datasets": [asdict(dataset) for dataset in self.datasets],
            "cut": self.cut.to_dict(),
            "dropped": self.dropped.to_dict(),
            "skipped": self.skipped.to_dict(),
        }

    def write(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def summary(self) -> list[str]:
        """Lines for a run's header."""
        lines = [f"train: {_describe(self.train)}"]
        if self.eval is not None:
            lines.append(f"held out: {_describe(self.eval)}")
        if not self.complete:
            of = "an unknown number of" if self.num_rows is None else f"{self.num_rows:,}"
            lines.append(f"looked at so far: {self.rows_read:,} of {of} rows")
        lost = {"cut to fit": self.cut, "dropped as too long": self.dropped, "skipped as unusable": self.skipped}
        told = [
            f"{len(rows):,} {what} (first: {rows.first.source}: {rows.first.detail})"
            for what, rows in lost.items()
            if rows
        ]
        return [*lines, *(f"of {self.rows_read:,} rows read, {line}" for line in told)]


def _place(problem: RowProblem) -> dict[str, Any]:
    return {"file": problem.source.file, "row": problem.source.row, "detail": problem.detail}


def _describe(totals: Totals) -> str:
    share = totals.supervised_tokens / max(totals.tokens, 1)
    kinds = {"images": totals.images, "videos": totals.videos, "audio clips": totals.audios}
    named = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    media = f", {named} of {totals.media_tokens:,} tokens" if named else ""
    # prompts have nothing in the loss before they are answered
    in_loss = f", {totals.supervised_tokens:,} in the loss ({share:.0%})" if totals.supervised_tokens else ""
    return f"{totals.rows:,} rows, {totals.tokens:,} tokens{in_loss}{media}, longest {totals.longest_tokens:,}"
