"""Examples as a web page that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.data.report.previewed import PAIR, ROW, previewed
from tunesmith.chat.message import RowSource
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.preview_page import write_page
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


def test_the_page_needs_nothing_else_and_escapes_rows(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2_5_vl"), ROW)
    problem = RowProblem(RowSource("rows.json", 9), "unreadable row", "<script>")
    page = "".join(write_page(iter([row, problem])))
    assert "<b>" not in page and "<script" not in page
    assert "What &lt;b&gt;is&lt;/b&gt; 它 🎵?" in re.sub(r"</?span[^>]*>", "", page)
    assert "&lt;script&gt;" in page
    assert '<span class="m" title="521">&lt;|image_pad|&gt;×10</span>' in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "56 × 140" in page


def test_both_answers_of_a_pair_are_on_the_page(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2_5_vl"), PAIR, "pairs")
    page = "".join(write_page(iter([row])))
    chosen, rejected = row.trace.encoded.branches
    assert f'<h3 class="row">chosen answer · {chosen} tokens</h3>' in page
    assert f'<h3 class="row">rejected answer · {rejected} tokens</h3>' in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert "It is &lt;b&gt;blue&lt;/b&gt;" in re.sub(r"</?span[^>]*>", "", page)
