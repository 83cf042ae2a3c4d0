"""Collects a DataReport outcome by outcome, in memory that does not grow with the rows.

Its state travels in checkpoints, so that a resumed run reports every row once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunesmith.chat.message import RowSource
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Outcome
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.lengths import LengthCounter
from tunesmith.data.report.report import DataReport, DatasetReport, Reason, Reasons, Totals

Use = Literal["train", "eval"]

NUM_EXAMPLES = 100
"""Rows named for each reason; the others are counted."""

_COUNTED = ("rows", "tokens", "supervised_tokens", "media_tokens", "images", "videos", "audios")


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What a report says of a dataset whatever its rows; `num_rows` is None where nobody counted them (streaming)."""

    name: str
    place: str
    num_rows: int | None
    used_for: Use = "train"


class ReportBuilder:
    """Collects outcomes. `datasets` in the order in which RowRef.dataset numbers them.

    A row should be added once: in a run of several epochs, while the first lasts.
    """

    def __init__(self, datasets: Sequence[DatasetFacts], *, cutoff_len: int) -> None:
        self._datasets = tuple(datasets)
        self._cutoff_len = cutoff_len
        self._rows: list[Counter[str]] = [Counter() for _ in datasets]
        self._totals: dict[Use, _Sums] = {"train": _Sums(), "eval": _Sums()}
        self._lost: dict[str, LostRows] = {"cut": LostRows(), "dropped": LostRows(), "skipped": LostRows()}

    def add(self, outcome: Outcome, *, used_for: Use) -> None:
        """One row: kept (and maybe cut), left out for its length, or unusable."""
        rows = self._rows[outcome.ref.dataset]
        rows["rows_read"] += 1
        if outcome.problem is not None:
            became = "dropped" if outcome.is_dropped else "skipped"
            rows[became] += 1
            self._lost[became].add(outcome.problem)
        if outcome.encoded is not None:
            rows["rows_kept"] += 1
            rows["tokens"] += len(outcome.encoded)
            self._totals[used_for].add(outcome.encoded)
        if outcome.cut is not None:
            rows["cut"] += 1
            self._lost["cut"].add(_cut_problem(outcome.source, outcome.cut))

    def add_padding(self, num_tokens: int) -> None:
        """Positions of a training batch that held no token; 0 counts as known too."""
        self._totals["train"].add_padding(num_tokens)

    def report(self) -> DataReport:
        """What is known now."""
        held_out = self._totals["eval"].totals()
        return DataReport(
            datasets=tuple(
                _dataset_report(facts, rows) for facts, rows in zip(self._datasets, self._rows, strict=True)
            ),
            cutoff_len=self._cutoff_len,
            train=self._totals["train"].totals(),
            eval=held_out if held_out.rows else None,
            **{became: lost.reasons() for became, lost in self._lost.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Everything added, as plain JSON types of bounded size."""
        return {
            "datasets": [asdict(facts) for facts in self._datasets],
            "cutoff_len": self._cutoff_len,
            "rows": [dict(rows) for rows in self._rows],
            "totals": {use: sums.to_json() for use, sums in self._totals.items()},
            "lost": {became: lost.to_json() for became, lost in self._lost.items()},
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> ReportBuilder:
        """The builder whose `to_json` gave `state`."""
        builder = cls([DatasetFacts(**facts) for facts in state["datasets"]], cutoff_len=state["cutoff_len"])
        builder._rows = [Counter(rows) for rows in state["rows"]]
        builder._totals = {use: _Sums.from_json(state["totals"][use]) for use in builder._totals}
        builder._lost = {became: LostRows.from_json(state["lost"][became]) for became in builder._lost}
        return builder


class _Sums:
    """Totals that grow."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._padding: int | None = None
        self._lengths = LengthCounter()

    def add(self, encoded: Encoded) -> None:
        counts = self._counts
        counts["rows"] += 1
        counts["tokens"] += len(encoded)
        counts["supervised_tokens"] += encoded.num_supervised
        counts["media_tokens"] += encoded.num_media_tokens
        for media in encoded.media:
            counts[f"{media.kind}s"] += 1
        self._lengths.add(len(encoded))

    def add_padding(self, num_tokens: int) -> None:
        self._padding = (self._padding or 0) + num_tokens

    def totals(self) -> Totals:
        counts = {name: self._counts[name] for name in _COUNTED}
        return Totals(**counts, padding_tokens=self._padding, lengths=self._lengths.lengths())

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self._counts),
            "padding": self._padding,
            "lengths": sorted(self._lengths.counts.items()),
            "longest": self._lengths.longest,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> _Sums:
        sums = cls()
        sums._counts = Counter(state["counts"])
        sums._padding = state["padding"]
        sums._lengths = LengthCounter(dict(state["lengths"]), longest=state["longest"])
        return sums


class LostRows:
    """Rows and reasons: how many for each reason, and the first of them."""

    def __init__(self, *, most_examples: int = NUM_EXAMPLES) -> None:
        self._most_examples = most_examples
        self._rows: Counter[str] = Counter()
        self._examples: dict[str, list[RowProblem]] = {}

    def add(self, problem: RowProblem) -> None:
        """One more row; its kind is the reason."""
        self._rows[problem.kind] += 1
        examples = self._examples.setdefault(problem.kind, [])
        if len(examples) < self._most_examples:
            examples.append(problem)

    def reasons(self) -> Reasons:
        """What is known now."""
        return Reasons(
            tuple(Reason(kind, self._rows[kind], tuple(examples)) for kind, examples in self._examples.items())
        )

    def to_json(self) -> list[Any]:
        """Everything added, as plain JSON types of bounded size."""
        return [
            [kind, self._rows[kind], [[row.source.file, row.source.row, row.detail] for row in examples]]
            for kind, examples in self._examples.items()
        ]

    @classmethod
    def from_json(cls, state: Iterable[Any]) -> LostRows:
        """The rows whose `to_json` gave `state`."""
        lost = cls()
        for kind, rows, examples in state:
            lost._rows[kind] = rows
            lost._examples[kind] = [RowProblem(RowSource(file, row), kind, detail) for file, row, detail in examples]
        return lost


def _dataset_report(facts: DatasetFacts, rows: Mapping[str, int]) -> DatasetReport:
    return DatasetReport(
        name=facts.name,
        place=facts.place,
        used_for=facts.used_for,
        rows_read=rows["rows_read"],
        rows_kept=rows["rows_kept"],
        cut=rows["cut"],
        dropped=rows["dropped"],
        skipped=rows["skipped"],
        tokens=rows["tokens"],
        num_rows=facts.num_rows,
    )


def _cut_problem(source: RowSource, cut: str) -> RowProblem:
    """A cut ("text cut: the end of an answer cut") with its kind and detail apart."""
    kind, _, detail = cut.partition(": ")
    return RowProblem(source, kind, detail)
