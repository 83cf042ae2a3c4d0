"""The data check for a terminal: rows, tokens, lengths and findings in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from tunesmith.data.report.answer_signs import LENGTH_OF_TREES
from tunesmith.data.report.check import CheckedData
from tunesmith.data.report.findings import Finding, Severity
from tunesmith.data.report.lengths import Lengths
from tunesmith.data.report.report import DataReport, Totals

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}
_BARS = " ▁▂▃▄▅▆▇█"
_NUM_EVIDENCE = 3
_MOST_CHARACTERS = 160
"""Shown of what one row shows."""


def summarise(checked: CheckedData) -> Iterator[Text]:
    """The lines of the summary."""
    report = checked.survey.report
    yield from _labelled("data", report.summary())
    yield from _labelled("tokens", [_shares(report.train)])
    answers = checked.survey.answers.describe()
    if answers:
        yield from _labelled("answers", [answers])
    if report.train.lengths.bars:
        told = [LENGTH_OF_TREES] if answers else []
        yield from _labelled("lengths", [*_describe_lengths(report.train.lengths, report), *told])
    if not checked.findings:
        yield from _labelled("findings", ["none"])
    for finding in checked.findings:
        yield from _describe_finding(finding)


def _labelled(label: str, lines: list[str]) -> Iterator[Text]:
    for number, line in enumerate(lines):
        yield Text(f"{label if number == 0 else '':<9}{line}")


def _shares(totals: Totals) -> str:
    names = {"supervised": "in the loss", "prompt": "prompt", "media": "media", "padding": "padding"}
    shares = totals.to_dict()["shares"]
    return ", ".join(f"{shares[key]:.1%} {name}" for key, name in names.items() if shares[key])


def _describe_lengths(lengths: Lengths, report: DataReport) -> list[str]:
    most = max(bar.rows for bar in lengths.bars)
    bars = "".join(_BARS[-(-bar.rows * (len(_BARS) - 1) // most)] for bar in lengths.bars)
    return [
        f"half of the rows have at most {lengths.p50:,} tokens, 95 % {lengths.p95:,}, 99 % {lengths.p99:,}, "
        f"the longest {lengths.longest:,}; cutoff_len is {report.cutoff_len:,}",
        f"{lengths.bars[0].least:,} {bars} {lengths.longest:,}",
    ]


def _describe_finding(finding: Finding) -> Iterator[Text]:
    yield Text.assemble((f"{finding.severity:<9}", _STYLE[finding.severity]), finding.title)
    yield Text(f"{'':<9}→ {finding.advice}")
    for row in finding.evidence[:_NUM_EVIDENCE]:
        yield Text(f"{'':<11}{row.source}: {_shorten(row.detail)}", style="dim")


def _shorten(detail: str) -> str:
    line = "".join(character if character.isprintable() else "·" for character in detail)
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"
