"""The data check as one web page that needs nothing else: findings, amounts, lengths, problems, the first samples."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.answer_signs import LENGTH_OF_TREES, AnswerTotals
from tunesmith.data.report.check import CheckedData
from tunesmith.data.report.findings import Finding
from tunesmith.data.report.lengths import Lengths
from tunesmith.data.report.page import KEY, PAGE_TAIL, draw_row, page_head
from tunesmith.data.report.report import DataReport, Reasons, Totals

_NUM_LISTED = 10
"""Rows listed for each finding and each reason; data_report.json names more."""

_WIDTH, _HEIGHT, _GAP, _FOOT = 720, 160, 3, 34

_STYLE = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin: .75rem 0; }
.tile { border: 1px solid var(--edge); border-radius: 8px; padding: .5rem .75rem; }
.tile b { display: block; font-size: 1.375rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span, .quiet { color: var(--quiet); font-size: .875rem; }
.share { display: flex; height: 1.5rem; border-radius: 6px; overflow: hidden; margin: .5rem 0;
  border: 1px solid var(--edge); }
.share i { display: block; } .i-supervised { background: var(--loss); } .i-media { background: var(--media); }
.i-prompt { background: var(--prompt); }
.i-padding { background: repeating-linear-gradient(45deg, var(--edge) 0 3px, transparent 3px 7px); }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 3px; border: 1px solid var(--edge);
  margin: 0 .35em 0 0; vertical-align: -.05em; }
.legend span { margin-right: 1.25rem; }
.error { background: var(--bad); } .warning { background: var(--doubt); }
.finding h3 { font-size: 1rem; margin: 0 0 .25rem; } .finding p { margin: .25rem 0; }
.finding h3 em { font-style: normal; font-weight: 500; text-transform: uppercase; font-size: .75rem;
  letter-spacing: .04em; margin-right: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; } td, th { padding: .25rem .75rem .25rem 0;
  text-align: left; vertical-align: top; border-bottom: 1px solid var(--edge); overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { white-space: nowrap; } td:first-child { min-width: 11rem; }
details > summary { cursor: pointer; color: var(--quiet); font-size: .875rem; margin: .25rem 0; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
svg rect { fill: var(--ink); } svg line { stroke: var(--edge); } svg .cutoff { stroke: #c4372c; }
svg .cutoff-name { fill: #c4372c; }
.scroll { overflow-x: auto; margin: .5rem 0; } svg { margin-top: .5rem; }
"""


def write_check_page(checked: CheckedData) -> Iterator[str]:
    """The page, piece by piece."""
    report = checked.survey.report
    yield page_head("data check", style=_STYLE)
    yield f"<h1>Data check</h1>\n{_verdict(checked)}\n"
    yield from map(_draw_finding, checked.findings)
    yield f"<h2>Rows</h2>\n{_draw_rows(report)}{_draw_datasets(report)}"
    yield f"<h2>Tokens</h2>\n{_draw_tokens(report.train, 'training')}{_draw_answers(checked.survey.answers)}"
    yield _draw_lengths(report.train.lengths, report.cutoff_len)
    if report.eval is not None:
        yield _draw_tokens(report.eval, "held-out")
    yield _draw_reasons("Cut to fit", report.cut)
    yield _draw_reasons("Dropped as too long", report.dropped)
    yield _draw_reasons("Cannot be used", report.skipped)
    yield f"<h2>The first samples</h2>\n{KEY}"
    yield from map(draw_row, checked.samples)
    yield PAGE_TAIL


def _verdict(checked: CheckedData) -> str:
    report = checked.survey.report
    of = "an unknown number of" if report.num_rows is None else f"{report.num_rows:,}"
    seen = f"All {report.rows_read:,} rows" if report.complete else f"{report.rows_read:,} of {of} rows"
    found = "nothing was found" if not checked.findings else _count(len(checked.findings), "finding")
    model = html.escape(checked.model)
    return (
        f"<p>{seen} looked at with the tokenizer of {model} and {html.escape(checked.survey.template.name)}: "
        f"<b>{found}</b>.</p>"
    )


def _draw_finding(finding: Finding) -> str:
    rows = _table_of_rows(finding.evidence)
    opened = " open" if finding.severity == "error" else ""
    shown = f"<details{opened}><summary>rows that show it</summary>{rows}</details>" if finding.evidence else ""
    return (
        f'<section class="finding {finding.severity}"><h3><em>{finding.severity}</em>{html.escape(finding.title)}</h3>'
        f"<p>{html.escape(_sentence(finding.advice))}</p>{shown}</section>\n"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _draw_rows(report: DataReport) -> str:
    counts = {
        "read": report.rows_read,
        "to train on": report.train.rows,
        "held out": report.eval.rows if report.eval else 0,
        "cut to fit": len(report.cut),
        "dropped as too long": len(report.dropped),
        "cannot be used": len(report.skipped),
    }
    return _tiles({name: f"{count:,}" for name, count in counts.items()})


def _draw_datasets(report: DataReport) -> str:
    head = ("dataset", "used for", "rows", "read", "kept", "cut", "dropped", "unusable", "tokens")
    rows = [
        (
            f"{dataset.name} ({dataset.place})" if dataset.place != dataset.name else dataset.name,
            dataset.used_for,
            "?" if dataset.num_rows is None else f"{dataset.num_rows:,}",
            *(f"{n:,}" for n in (dataset.rows_read, dataset.rows_kept, dataset.cut, dataset.dropped, dataset.skipped)),
            f"{dataset.tokens:,}",
        )
        for dataset in report.datasets
    ]
    return _table(head, rows, first_number=2)


def _draw_tokens(totals: Totals, use: str) -> str:
    shares = {name: share for name, share in totals.to_dict()["shares"].items() if share}
    bar = "".join(f'<i class="i-{name}" style="width:{100 * share:.3f}%"></i>' for name, share in shares.items())
    labels = {"supervised": "in the loss", "prompt": "prompt", "media": "media", "padding": "padding"}
    legend = "".join(
        f'<span><i class="swatch i-{name}"></i>{labels[name]} {share:.1%}</span>' for name, share in shares.items()
    )
    kinds = {"image": totals.images, "video": totals.videos, "audio clip": totals.audios}
    media = "".join(f", {_count(count, kind)}" for kind, count in kinds.items() if count)
    return (
        f"<p>{totals.tokens:,} tokens in {_count(totals.rows, f'{use} row')}{media}.</p>"
        f'<div class="share">{bar}</div><p class="legend quiet">{legend}</p>\n'
    )


def _draw_answers(answers: AnswerTotals) -> str:
    described = answers.describe()
    told = f"{_sentence(described)} {_sentence(LENGTH_OF_TREES)}"
    return f"<p>{html.escape(told)}</p>\n" if described else ""


def _draw_lengths(lengths: Lengths, cutoff_len: int) -> str:
    facts = {
        "half have at most": lengths.p50,
        "95 % have at most": lengths.p95,
        "99 % have at most": lengths.p99,
        "the longest": lengths.longest,
        "cutoff_len": cutoff_len,
    }
    tiles = _tiles({name: f"{count:,}" for name, count in facts.items()})
    return f"<h3>Tokens of a row</h3>\n{tiles}{_histogram(lengths, cutoff_len)}" if lengths.bars else ""


def _histogram(lengths: Lengths, cutoff_len: int) -> str:
    """Bars two an octave, the number of rows above each, its first length below."""
    bars, most = lengths.bars, max(bar.rows for bar in lengths.bars)
    width = min((_WIDTH - _GAP) / (len(bars) + 0.5), 90)
    pieces = []
    for index, bar in enumerate(bars):
        height = (_HEIGHT - 20) * bar.rows / most
        x, top = index * width, _HEIGHT - height
        middle = x + (width - _GAP) / 2
        pieces.append(
            f'<g><title>{bar.least:,} to {bar.most:,} tokens: {bar.rows:,} rows</title><rect x="{x:.1f}" y="{top:.1f}" '
            f'width="{width - _GAP:.1f}" height="{height:.1f}" rx="2"/>'
            f'<text x="{middle:.1f}" y="{top - 4:.1f}" text-anchor="middle">{_short(bar.rows)}</text>'
            f'<text x="{x:.1f}" y="{_HEIGHT + 14}">{_short(bar.least)}</text></g>'
        )
    last = f'<text x="{len(bars) * width:.1f}" y="{_HEIGHT + 14}">{_short(bars[-1].most + 1)}</text>'
    edge = next((index for index, bar in enumerate(bars) if bar.most >= cutoff_len), None)
    if edge is not None:
        bar = bars[edge]
        x = (edge + (cutoff_len - bar.least) / (bar.most + 1 - bar.least)) * width
        pieces.append(
            f'<line class="cutoff" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"/>'
            f'<text class="cutoff-name" x="{x + 4:.1f}" y="10">cutoff_len</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" role="img" aria-label="rows by length in tokens">'
        f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>{"".join(pieces)}{last}'
        f'<text x="0" y="{_HEIGHT + _FOOT - 4}">tokens of a row, from</text></svg>\n'
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _short(count: int) -> str:
    """120,000 as 120k, where there is little room."""
    if count < 10_000:
        return f"{count:,}" if count else ""
    return f"{count / 1_000_000:.3g}M" if count >= 1_000_000 else f"{count / 1_000:.3g}k"


def _draw_reasons(title: str, reasons: Reasons) -> str:
    if not reasons:
        return ""
    tables = "".join(
        f"<h3>{reason.rows:,} × {html.escape(reason.kind)}</h3>{_table_of_rows(reason.examples)}" for reason in reasons
    )
    return f"<section><h2>{title}: {_count(len(reasons), 'row')}</h2>{tables}</section>\n"


def _table_of_rows(rows: Sequence[RowProblem]) -> str:
    return _table(
        ("file", "row", "what"),
        [(row.source.file, f"{row.source.row:,}", row.detail) for row in rows[:_NUM_LISTED]],
        first_number=1,
        numbers=1,
    )


def _tiles(facts: dict[str, str]) -> str:
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in facts.items())
    return f'<div class="tiles">{tiles}</div>\n'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, first_number: int, numbers: int = 99) -> str:
    """A table whose columns from `first_number` on, `numbers` of them, hold numbers."""
    css = ['class="n"' if first_number <= index < first_number + numbers else "" for index in range(len(head))]
    top = "".join(f"<th {kind}>{html.escape(name)}</th>" for kind, name in zip(css, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{html.escape(cell)}</td>" for kind, cell in zip(css, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>\n'
