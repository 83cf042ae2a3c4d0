"""One example as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.data.conversations import assistant, conversation, user
from tests.data.report.previewed import PAIR, ROW, previewed
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_text import to_text
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(scope="module")
def row(preprocessor_of: PreprocessorOf) -> PreviewedRow:
    return previewed(preprocessor_of("qwen2_5_vl"), ROW)


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


def test_the_answers_of_a_pair_stand_under_their_names(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2_5_vl"), PAIR, "pairs")
    lines = to_text(row, color=False).splitlines()
    chosen, rejected = row.trace.encoded.branches
    assert f"── chosen answer · {chosen} tokens" in lines and f"── rejected answer · {rejected} tokens" in lines
    assert [line for line in lines if "⟦" in line] == ["⟦It is red 🚀<|im_end|>⟧", "⟦It is <b>blue</b><|im_end|>⟧"]
    assert sum("What is it?" in line for line in lines) == 1


def test_a_row_cannot_command_the_terminal(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    row = previewed(preprocessor, conversation(user("\033[2Jgone\tx"), assistant("ok\r")))
    shown = to_text(row, color=False)
    assert "\033" not in shown and "\\x1b[2Jgone\tx" in shown and "\\x0d" in shown
