"""Each finding on data made to show it, and none on sound data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.checked import check_files, check_rows, dialogue, found_ids, sound_rows
from tunesmith.data.report.check import CheckedData
from tunesmith.data.report.findings import Finding

SOUND = sound_rows(30)
CheckRows = Callable[..., CheckedData]


@pytest.fixture
def check(model_folder: Callable[[str], Path], tmp_path: Path) -> CheckRows:
    def check(rows: list[Any], *, kind: str = "qwen2", **keys: Any) -> CheckedData:
        return check_rows(model_folder(kind), tmp_path, rows, **keys)

    return check


def the(checked: CheckedData, name: str) -> Finding:
    (finding,) = (finding for finding in checked.findings if finding.id == name)
    return finding


def test_sound_data_has_nothing_to_find(check: CheckRows) -> None:
    assert found_ids(check(SOUND)) == {}
    assert found_ids(check(SOUND, held_out=sound_rows(5, start=100))) == {}
    assert found_ids(check(SOUND, val_size=0.1)) == {}
    assert found_ids(check(SOUND, train_on_prompt=True)) == {}


def test_the_same_template_by_name_is_as_good_as_the_models_own(check: CheckRows) -> None:
    assert found_ids(check(SOUND, template="qwen2_vl")) == {}


def test_another_system_message_is_worth_a_note(check: CheckRows) -> None:
    checked = check(SOUND, template="qwen")
    assert found_ids(checked) == {"template-not-the-models-own": "note"}
    assert "another system message" in checked.findings[0].title
    assert "You are Qwen" in checked.findings[0].evidence[0].detail
    asked = [{"messages": [{"role": "system", "content": "Be brief."}, *row["messages"]]} for row in SOUND]
    assert found_ids(check(asked, template="qwen")) == {}


def test_a_template_of_another_model(check: CheckRows) -> None:
    checked = check(SOUND, template="llama3")
    assert found_ids(checked) == {
        "template-words-are-no-tokens": "error",
        "answer-without-end": "error",
        "template-not-the-models-own": "warning",
    }
    assert "<|start_header_id|>, <|end_header_id|>, <|eot_id|>" in the(checked, "template-words-are-no-tokens").title
    assert "30 of 30 rows" in the(checked, "answer-without-end").title
    (difference,) = the(checked, "template-not-the-models-own").evidence
    assert difference.source.row == 0 and difference.detail.startswith("'<|start_header_id|>user")


def test_another_template_whose_words_are_tokens_is_doubtful(check: CheckRows) -> None:
    checked = check(SOUND, template="sailor")
    assert found_ids(checked) == {"template-not-the-models-own": "warning"}
    assert "other text" in the(checked, "template-not-the-models-own").title


def test_answers_that_say_nothing(check: CheckRows) -> None:
    checked = check([*SOUND, dialogue("Who is it?", "NaN"), dialogue("And now?", "\u200b none ")])
    assert found_ids(checked) == {"answer-says-nothing": "warning"}
    assert [row.source.row for row in the(checked, "answer-says-nothing").evidence] == [30, 31]
    assert found_ids(check([dialogue(f"Who is number {n}?", "nan") for n in range(4)])) == {
        "answer-says-nothing": "error"
    }


def test_empty_answers_and_broken_rows(check: CheckRows) -> None:
    rows = [*SOUND, dialogue("Who?", ""), "no row"]
    checked = check(rows)
    assert found_ids(checked) == {"unusable-rows": "error"}
    assert checked.has_errors
    found = the(checked, "unusable-rows")
    assert found.title == "2 of 32 rows cannot be used: 1 empty answer, 1 wrong type"
    assert [row.source.row for row in found.evidence] == [30, 31]
    left_out = check(rows, on_bad_row="skip")
    assert found_ids(left_out) == {"unusable-rows": "warning"} and not left_out.has_errors


def test_rows_without_a_supervised_token(check: CheckRows) -> None:
    row = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I.", "loss": False}]}
    checked = check([*SOUND, row])
    assert found_ids(checked) == {"no-supervised-token": "error", "unusable-rows": "error"}
    assert the(checked, "no-supervised-token").evidence[0].source.row == 30


def test_constant_answers(check: CheckRows) -> None:
    same = [dialogue(f"Is {number} even?", "Yes.") for number in range(20)]
    assert found_ids(check(same)) == {"constant-answers": "error"}
    checked = check([*same, *sound_rows(3)])
    assert found_ids(checked) == {"constant-answers": "warning"}
    assert the(checked, "constant-answers").title.startswith("20 of 23 training rows have the same answer")
    half = [dialogue(f"Is {number} even?", "Yes." if number % 2 == 0 else "No.") for number in range(20)]
    assert found_ids(check(half)) == {}


def test_answers_that_repeat_the_prompt(check: CheckRows) -> None:
    echoes = [dialogue(f"What is the name of {n}?", f"What is the name of {n}? Its name is {n}{n}.") for n in range(5)]
    checked = check([*SOUND, *echoes])
    assert found_ids(checked) == {"answer-repeats-prompt": "warning"}
    assert the(checked, "answer-repeats-prompt").title.startswith("5 of 35 answers (14 %)")


def test_rows_cut_and_dropped(check: CheckRows) -> None:
    long = [dialogue(f"Tell me a long story of {n}.", f"{n} words " * 120) for n in range(20)]
    cut = check(long, cutoff_len=128)
    assert found_ids(cut) == {"many-rows-cut": "error", "answers-cut": "warning"}
    assert "20 of 20 rows (100 %) do not fit cutoff_len: 128" in the(cut, "many-rows-cut").title
    dropped = check([*SOUND, *long], cutoff_len=128, overlong="drop")
    assert found_ids(dropped) == {"many-rows-dropped": "warning"}
    nothing = check(long, cutoff_len=128, overlong="drop")
    assert found_ids(nothing) == {"no-rows-left": "error", "many-rows-dropped": "error"}


def test_cutoff_len_above_need(check: CheckRows) -> None:
    assert found_ids(check(SOUND, cutoff_len=65536)) == {"cutoff-above-need": "note"}
    checked = check(SOUND, cutoff_len=4096, packing=True)
    assert found_ids(checked) == {"cutoff-above-need": "warning"}
    assert "fit in 1 packs" in the(checked, "cutoff-above-need").title
    assert found_ids(check(SOUND, cutoff_len=128, packing=True)) == {}


def test_text_that_spells_control_tokens(check: CheckRows) -> None:
    checked = check([*SOUND, dialogue("What is <|im_end|> for?", "It ends a turn.")])
    assert found_ids(checked) == {"control-token-in-text": "note"}
    assert the(checked, "control-token-in-text").evidence[0].detail == "'<|im_end|>' in 'What is <|im_end|> for?'"
    templated = [dialogue(f"<|im_start|>user\nWhat is {n}?<|im_end|>", f"It is {n}, a number.") for n in range(9)]
    assert found_ids(check([*SOUND, *templated])) == {"control-token-in-text": "warning"}


def test_duplicates_and_leaks(check: CheckRows) -> None:
    checked = check([*SOUND, *SOUND[3:6], SOUND[3]], held_out=[SOUND[7], *sound_rows(2, start=100)])
    assert found_ids(checked) == {"duplicates": "warning", "validation-leak": "warning"}
    duplicates, leak = the(checked, "duplicates"), the(checked, "validation-leak")
    assert duplicates.title.startswith("4 of 34 training rows (12 %)")
    pairs = {(row.source.row, row.detail.rpartition(" ")[2]) for row in duplicates.evidence}
    assert pairs == {(30, "3"), (33, "3"), (31, "4"), (32, "5")}
    assert leak.title.startswith("1 of 3 held-out rows")
    assert leak.evidence[0].source.file.endswith("held_out.json") and leak.evidence[0].detail.endswith("row 7")


def test_val_size_leaks_through_duplicates_alone(check: CheckRows) -> None:
    checked = check([*SOUND, *SOUND], val_size=20)
    assert found_ids(checked)["validation-leak"] == "warning"
    assert checked.survey.report.train.rows == 40


def test_the_same_text_with_another_picture_is_no_duplicate(check: CheckRows, tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        Image.new("RGB", (84, 84), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(dialogue("<image>Which colour is it?", f"Shade {number}.", images=[f"{number}.png"]))
    asked = [{**row, "messages": rows[0]["messages"]} for row in rows]
    keys = {"kind": "qwen2_5_vl", "media_dir": str(tmp_path)}
    assert found_ids(check(asked, **keys)) == {}
    assert found_ids(check([*asked, asked[1], asked[2]], **keys)) == {"duplicates": "warning"}


def test_pictures_of_four_tokens(check: CheckRows, tmp_path: Path) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "small.png")
    Image.new("RGB", (280, 280), "red").save(tmp_path / "large.png")
    small = dialogue("<image>Which colour?", "Red, I think.", images=["small.png"])
    large = dialogue("<image>Which colour is the large one?", "Red too.", images=["large.png"])
    both = dialogue("<image><image>Are they alike?", "In colour, yes.", images=["large.png", "small.png"])
    keys = {"kind": "qwen2_5_vl", "media_dir": str(tmp_path)}
    assert found_ids(check([large], **keys)) == {}
    checked = check([large, both, large], **keys)
    assert found_ids(checked)["tiny-media"] == "warning"
    assert the(checked, "tiny-media").evidence[0].detail == "image 2 of 2 became 4 tokens"
    assert found_ids(check([small], **keys)) == {"tiny-media": "error"}
    assert found_ids(check([large], **keys, image_max_pixels=56 * 56)) == {"tiny-media": "error"}


def test_media_that_dominate(check: CheckRows, tmp_path: Path) -> None:
    Image.new("RGB", (1400, 1400), "red").save(tmp_path / "large.png")
    rows = [dialogue("<image>?", "Red.", images=["large.png"])]
    checked = check(rows, kind="qwen2_5_vl", media_dir=str(tmp_path), cutoff_len=4096, image_max_pixels=1400**2)
    assert found_ids(checked) == {"media-dominate": "note"}


def test_a_dataset_that_drowns_in_another(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    for name, rows in (("many.json", sound_rows(300)), ("few.json", [dialogue("Who are you?", "I am Tunesmith.")])):
        (tmp_path / name).write_text(json.dumps(rows))
    keys: dict[str, Any] = {"dataset": f"{tmp_path / 'many.json'},{tmp_path / 'few.json'}"}
    checked = check_files(model_folder("qwen2"), **keys)
    assert found_ids(checked) == {"uneven-mixture": "warning"}
    assert "few.json" in the(checked, "uneven-mixture").title
    assert found_ids(check_files(model_folder("qwen2"), **keys, mix_strategy="interleave_over")) == {}


def test_the_worst_comes_first(check: CheckRows) -> None:
    checked = check([*SOUND, dialogue("What is <|im_end|>?", "A token."), dialogue("Who?", "")])
    assert [finding.severity for finding in checked.findings] == ["error", "note"]
    assert str(checked.findings[0]).startswith("1 of 32 rows cannot be used: 1 empty answer (")
