"""Previewed examples as one web page that needs nothing else: colours, the id under the pointer, small pictures."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.page import KEY, PAGE_TAIL, draw_row, page_head
from tunesmith.data.report.preview import PreviewedRow


def write_page(rows: Iterator[PreviewedRow | RowProblem]) -> Iterator[str]:
    """The page, piece by piece."""
    yield page_head("data preview") + "<h1>Data preview</h1>\n" + KEY
    for row in rows:
        yield draw_row(row)
    yield PAGE_TAIL
