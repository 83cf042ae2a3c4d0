"""One example as a line of JSON: the contract, and what each stage adds to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.data.conversations import apart, assistant, build_encoder, conversation, document, user
from tests.data.report.previewed import JUDGED, PAIR, ROW, previewed
from tunesmith.chat.message import Conversation
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.encoded import IGNORED
from tunesmith.data.report.preview import PreviewedRow
from tunesmith.data.report.preview_json import to_json_line
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(scope="module")
def row(preprocessor_of: PreprocessorOf) -> PreviewedRow:
    return previewed(preprocessor_of("qwen2_5_vl"), ROW)


def shown(preprocessor: Preprocessor, row: Conversation, rows: RowKind, **settings: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(to_json_line(previewed(preprocessor, row, rows, **settings)))
    return line


CONTRACT = ["source", "input_ids", "labels", "text", "supervised", "num_media_tokens", "truncated"]


def test_a_json_line_keeps_the_contract(row: PreviewedRow) -> None:
    line = to_json_line(row)
    parsed = json.loads(line)
    assert list(parsed) == CONTRACT
    assert parsed["source"] == {"file": "rows.json", "row": 3}
    assert parsed["supervised"] == ["red 🚀<|im_end|>", "no<|im_end|>"]
    assert parsed["text"].count("<|image_pad|>") == 1 and "它 🎵" in line
    assert parsed["num_media_tokens"] == 10 and parsed["truncated"] is False
    assert len(parsed["input_ids"]) == len(parsed["labels"])
    pairs = zip(parsed["input_ids"], parsed["labels"], strict=True)
    assert all(label in (IGNORED, number) for number, label in pairs)


def test_a_json_line_is_one_line_for_every_reader(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    row = previewed(preprocessor, conversation(user("a\u2028b\x85c"), assistant("d\u2029e")))
    line = to_json_line(row)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["supervised"] == ["d\u2029e<|im_end|>"]


def test_a_pair_shows_its_rows_together_and_apart(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    line = shown(preprocessor, PAIR, "pairs")
    assert list(line) == [*CONTRACT, "branches", "chosen", "rejected"]
    assert line["supervised"] == ["It is red 🚀<|im_end|>", "It is <b>blue</b><|im_end|>"]
    num_shared = len(line["input_ids"]) - sum(line["branches"])
    assert line["labels"][:num_shared] == [IGNORED] * num_shared
    start = 0
    for name, num_tokens, row in zip(("chosen", "rejected"), line["branches"], apart(PAIR), strict=True):
        plain = build_encoder(preprocessor).encode(row)
        assert line[name]["input_ids"] == plain.input_ids.tolist()
        assert line[name]["labels"] == plain.labels.tolist()
        assert line[name]["text"].endswith(f"{row.messages[-1].text}<|im_end|>\n")
        assert line[name]["supervised"] == [f"{row.messages[-1].text}<|im_end|>"]
        assert line[name]["input_ids"][num_shared:] == line["input_ids"][num_shared + start :][:num_tokens]
        start += num_tokens


def test_a_judged_answer_is_a_row_with_its_verdict(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    line = shown(preprocessor, JUDGED, "verdicts")
    assert list(line) == [*CONTRACT, "verdict", "other_answer"]
    assert line["verdict"] is False and line["supervised"] == ["yes<|im_end|>"]
    own, other = apart(JUDGED)
    assert line["input_ids"] == build_encoder(preprocessor).encode(own).input_ids.tolist()
    assert line["other_answer"]["input_ids"] == build_encoder(preprocessor).encode(other).input_ids.tolist()


def test_a_long_document_says_where_it_is_cut(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    line = shown(preprocessor, document("words " * 40), "documents", cutoff_len=50)
    assert list(line) == [*CONTRACT, "pieces"]
    assert sum(piece["num_tokens"] for piece in line["pieces"]) == len(line["input_ids"]) > 50
    assert list(shown(preprocessor, document("words"), "documents")) == CONTRACT


@pytest.mark.parametrize("answer", ["4", None])
def test_a_prompt_shows_the_answer_to_judge_by(answer: str | None, preprocessor_of: PreprocessorOf) -> None:
    row = conversation(user("2 + 2?"), *([assistant(answer)] if answer else []))
    line = shown(preprocessor_of("qwen2"), row, "prompts")
    assert set(line["labels"]) == {IGNORED} and line["supervised"] == []
    assert line["text"].endswith("<|im_start|>assistant\n")
    assert line.get("reference_answer") == answer
