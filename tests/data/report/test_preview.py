"""One example after every step, as JSON, as text and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tunesmith.chat.message import RowSource
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.preview import PreviewedRow, abbreviate, segments, supervised_texts, to_json_line, to_text
from tunesmith.data.report.preview_page import write_page
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

ROW = conversation(
    user(picture(56, 140), "What <b>is</b> 它 🎵?"), assistant("red 🚀"), user("more?"), assistant("no"), row=3
)


@pytest.fixture(scope="module")
def row(preprocessor_of: PreprocessorOf) -> PreviewedRow:
    preprocessor = preprocessor_of("qwen2_5_vl")
    return PreviewedRow(build_encoder(preprocessor).trace(ROW), preprocessor.tokenizer)


def test_a_json_line_keeps_the_contract(row: PreviewedRow) -> None:
    line = to_json_line(row)
    shown = json.loads(line)
    assert list(shown) == [
        *("source", "input_ids", "labels", "text", "supervised", "num_media_tokens", "truncated"),
    ]
    assert shown["source"] == {"file": "rows.json", "row": 3}
    assert shown["supervised"] == ["red 🚀<|im_end|>", "no<|im_end|>"]
    assert shown["text"].count("<|image_pad|>") == 1 and "它 🎵" in line
    assert shown["num_media_tokens"] == 10 and shown["truncated"] is False
    assert len(shown["input_ids"]) == len(shown["labels"])
    pairs = zip(shown["input_ids"], shown["labels"], strict=True)
    assert all(label in (IGNORED, number) for number, label in pairs)


def test_a_json_line_is_one_line_for_every_reader(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    trace = build_encoder(preprocessor).trace(conversation(user("a\u2028b\x85c"), assistant("d\u2029e")))
    line = to_json_line(PreviewedRow(trace, preprocessor.tokenizer))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["supervised"] == ["d\u2029e<|im_end|>"]


def test_segments_are_the_whole_text_once(row: PreviewedRow) -> None:
    parts = segments(row)
    assert "".join(text for part in parts for text in part.texts) == row.trace.expanded.text
    assert [number for part in parts for number in part.ids] == row.trace.encoded.input_ids.tolist()
    assert ["".join(part.texts) for part in parts if part.supervised] == supervised_texts(row)


def test_text_marks_the_loss_and_abbreviates_media(row: PreviewedRow) -> None:
    title, _, rest = to_text(row, color=False).partition("\n")
    tokens = len(row.trace.encoded)
    assert (
        title
        == f"── rows.json, row 3 · {tokens} tokens, 10 of them media, {row.trace.encoded.num_supervised} in the loss"
    )
    assert "<|vision_start|><|image_pad|>×10<|vision_end|>What <b>is</b> 它 🎵?<|im_end|>" in rest
    assert "assistant\n⟦red 🚀<|im_end|>⟧\n" in rest


def test_colour_is_only_added(row: PreviewedRow) -> None:
    plain, coloured = to_text(row, color=False), to_text(row, color=True)
    assert "\033[32mred 🚀<|im_end|>\033[0m" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == plain.replace("⟦", "").replace("⟧", "")


def test_a_row_cannot_command_the_terminal(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    trace = build_encoder(preprocessor).trace(conversation(user("\033[2Jgone\tx"), assistant("ok\r")))
    shown = to_text(PreviewedRow(trace, preprocessor.tokenizer), color=False)
    assert "\033" not in shown and "\\x1b[2Jgone\tx" in shown and "\\x0d" in shown


def test_runs_of_four_are_abbreviated() -> None:
    assert abbreviate(("<a>", *["<b>"] * 4, "<c>", "<c>")) == "<a><b>×4<c><c>"


def test_the_page_needs_nothing_else_and_escapes_rows(row: PreviewedRow) -> None:
    problem = RowProblem(RowSource("rows.json", 9), "unreadable row", "<script>")
    page = "".join(write_page(iter([row, problem])))
    assert "<b>" not in page and "<script" not in page
    assert "What &lt;b&gt;is&lt;/b&gt; 它 🎵?" in re.sub(r"</?span[^>]*>", "", page)
    assert "&lt;script&gt;" in page
    assert '<span class="m" title="521">&lt;|image_pad|&gt;×10</span>' in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "56 × 140" in page
