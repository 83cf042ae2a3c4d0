"""What there is to see of an example: all of its text once, in stretches and runs that are alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.data.conversations import assistant, conversation, document, user
from tests.data.report.previewed import JUDGED, PAIR, ROW, previewed
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_json import supervised_texts
from tunesmith.data.report.preview_parts import Stretch, abbreviate, segments, stretches
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(scope="module")
def row(preprocessor_of: PreprocessorOf) -> PreviewedRow:
    return previewed(preprocessor_of("qwen2_5_vl"), ROW)


def text_of(stretch: Stretch, *, supervised: bool | None = None) -> str:
    """Its text, or that which is in the loss (or is not)."""
    wanted = (segment for segment in stretch.segments if supervised in (None, segment.supervised))
    return "".join(text for segment in wanted for text in segment.texts)


def test_segments_are_the_whole_text_once(row: PreviewedRow) -> None:
    parts = segments(row.trace)
    assert "".join(text for part in parts for text in part.texts) == row.trace.expanded.text
    assert [number for part in parts for number in part.ids] == row.trace.encoded.input_ids.tolist()
    assert ["".join(part.texts) for part in parts if part.supervised] == supervised_texts(row)


def test_a_plain_row_is_one_stretch(row: PreviewedRow) -> None:
    (stretch,) = stretches(row)
    assert stretch.name == "" and stretch.num_tokens == len(row.trace.encoded)
    assert text_of(stretch) == row.trace.expanded.text


def test_a_pair_has_its_prompt_once(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2_5_vl"), PAIR, "pairs")
    beginning, chosen, rejected = stretches(row)
    assert [part.name for part in (beginning, chosen, rejected)] == ["", "chosen answer", "rejected answer"]
    assert [chosen.num_tokens, rejected.num_tokens] == list(row.trace.encoded.branches)
    assert beginning.num_tokens == row.trace.encoded.num_shared
    assert text_of(beginning, supervised=True) == ""
    assert text_of(chosen, supervised=True) == "It is red 🚀<|im_end|>"
    assert text_of(rejected, supervised=True) == "It is <b>blue</b><|im_end|>"
    ids = [number for part in (beginning, chosen, rejected) for segment in part.segments for number in segment.ids]
    assert ids == row.trace.encoded.input_ids.tolist()


def test_a_judged_answer_comes_before_that_of_another_row(preprocessor_of: PreprocessorOf) -> None:
    names = [stretch.name for stretch in stretches(previewed(preprocessor_of("qwen2"), JUDGED, "verdicts"))]
    assert names == ["", "answer marked bad", "another row's answer"]


def test_a_document_is_shown_sample_by_sample(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2"), document("words " * 40), "documents", cutoff_len=100)
    shown = stretches(row)
    assert [stretch.name for stretch in shown] == [f"sample {number} of {len(shown)}" for number in (1, 2, 3)]
    assert [stretch.num_tokens for stretch in shown] == [piece.num_tokens for piece in row.trace.encoded.pieces]
    assert "".join(map(text_of, shown)) == row.trace.expanded.text


def test_a_prompt_comes_with_the_answer_to_judge_by(preprocessor_of: PreprocessorOf) -> None:
    row = previewed(preprocessor_of("qwen2"), conversation(user("2 + 2?"), assistant("four 🚀")), "prompts")
    prompt, reference = stretches(row)
    assert text_of(prompt).endswith("<|im_start|>assistant\n") and (row.trace.encoded.labels == IGNORED).all()
    assert (reference.name, text_of(reference)) == ("answer to judge by", "four 🚀")


def test_runs_of_four_are_abbreviated() -> None:
    assert abbreviate(("<a>", *["<b>"] * 4, "<c>", "<c>")) == "<a><b>×4<c><c>"
