"""Findings in pairs and verdicts made to show them, and none in sound ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.checked import check_rows, found_ids
from tunesmith.data.report.check import CheckedData
from tunesmith.data.report.check_page import write_check_page
from tunesmith.data.report.check_text import summarise
from tunesmith.data.report.findings import Finding

CheckRows = Callable[..., CheckedData]


def pair(number: int, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": f"What comes after {number}, and why?", "chosen": chosen, "rejected": rejected}


def judged(number: int, answer: str, good: bool) -> dict[str, Any]:
    return {"prompt": f"What comes after {number}, and why?", "completion": answer, "label": good}


PAIRS = [pair(n, f"{n + 1}, as one is added.", f"{n + 2}, as two are added.") for n in range(40)]
VERDICTS = [judged(n, f"{n + 1 + n % 2}, as one is added.", n % 2 == 0) for n in range(40)]


@pytest.fixture
def check(model_folder: Callable[[str], Path], tmp_path: Path) -> CheckRows:
    def check(rows: list[Any], *, stage: str = "dpo", **keys: Any) -> CheckedData:
        return check_rows(model_folder("qwen2"), tmp_path, rows, stage=stage, **keys)

    return check


def the(checked: CheckedData, name: str) -> Finding:
    (finding,) = (finding for finding in checked.findings if finding.id == name)
    return finding


def test_sound_pairs_and_verdicts_have_nothing_to_find(check: CheckRows) -> None:
    assert found_ids(check(PAIRS)) == {}
    assert found_ids(check(PAIRS, stage="rm")) == {}
    assert found_ids(check(VERDICTS, stage="kto")) == {}
    assert found_ids(check(PAIRS, val_size=0.2)) == {}


def test_pairs_of_equal_answers(check: CheckRows) -> None:
    checked = check([*PAIRS, pair(100, "The same.", "The same.")])
    assert found_ids(checked) == {"pair-without-difference": "warning"}
    finding = the(checked, "pair-without-difference")
    assert finding.title.startswith("in 1 of 41 pairs the chosen answer is the rejected one")
    assert [(row.source.row, row.detail) for row in finding.evidence] == [(40, "both are 'The same.'")]
    assert found_ids(check([pair(n, f"{n}.", f"{n}.") for n in range(9)])) == {"pair-without-difference": "error"}


def test_pairs_of_answers_that_hardly_differ(check: CheckRows) -> None:
    alike = [pair(n, f"It is {n}.", f"it is  {n}!") for n in range(100, 105)]
    checked = check([*PAIRS, *alike])
    assert found_ids(checked) == {"pair-hardly-differs": "warning"}
    assert "in 5 of 45 pairs (11 %)" in the(checked, "pair-hardly-differs").title
    assert found_ids(check([*PAIRS, alike[0]])) == {}


def test_chosen_answers_that_are_nearly_always_longer(check: CheckRows) -> None:
    long = [pair(n, f"{n + 1}, " + "as one is added, " * 5, f"{n + 2}, I think.") for n in range(38)]
    checked = check([*long, *PAIRS[38:]])
    assert found_ids(checked) == {"length-bias": "warning"}
    title = the(checked, "length-bias").title
    assert title.startswith("the chosen answer is longer than the rejected one in 95 % of 40 pairs, ")
    assert title.endswith("so the model may learn to answer long instead of well")
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in long]
    assert "the model may learn to answer short" in the(check(swapped), "length-bias").title
    assert found_ids(check([*long[:20], *swapped[20:]])) == {}


def test_verdicts_that_are_all_the_same(check: CheckRows) -> None:
    good = [judged(n, f"{n + 1}, as one is added.", True) for n in range(30)]
    checked = check(good, stage="kto")
    assert found_ids(checked) == {"one-sided-verdicts": "error"}
    assert the(checked, "one-sided-verdicts").title.startswith("0 of 30 answers (0 %) are marked bad")
    nearly = check([*good, judged(30, "Nothing.", False)], stage="kto")
    assert found_ids(nearly) == {"one-sided-verdicts": "warning"}
    assert the(nearly, "one-sided-verdicts").advice == "add answers marked bad, or raise kto_rejected_weight"
    bad = [{**row, "label": False} for row in good]
    assert "are marked good" in the(check(bad, stage="kto"), "one-sided-verdicts").title


def test_rows_that_say_the_opposite_of_one_another(check: CheckRows) -> None:
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in PAIRS[:2]]
    checked = check([*PAIRS, *swapped])
    assert found_ids(checked) == {"contradictions": "warning"}
    pairs = {(row.source.row, row.detail.rpartition(" ")[2]) for row in the(checked, "contradictions").evidence}
    assert pairs == {(0, "40"), (1, "41"), (40, "0"), (41, "1")}
    flipped = [{**VERDICTS[0], "label": False}]
    assert found_ids(check([*VERDICTS, *flipped], stage="kto")) == {"contradictions": "warning"}


def test_duplicates_are_found_whatever_stands_before_them(check: CheckRows) -> None:
    assert found_ids(check([*PAIRS, *PAIRS[:2]])) == {"duplicates": "note"}
    assert found_ids(check([*VERDICTS, VERDICTS[3], VERDICTS[9]], stage="kto")) == {"duplicates": "note"}


def test_empty_answers_are_unusable_and_blank_ones_are_found(check: CheckRows) -> None:
    checked = check([*PAIRS, pair(100, "One more.", ""), pair(101, "One more.", "nan")])
    assert found_ids(checked) == {"unusable-rows": "error", "answer-says-nothing": "warning"}
    assert the(checked, "unusable-rows").title == "1 of 42 rows cannot be used: 1 empty answer"
    assert the(checked, "answer-says-nothing").evidence[0].source.row == 41


def test_the_template_is_tried_on_both_answers(check: CheckRows) -> None:
    checked = check(PAIRS, template="llama3")
    assert found_ids(checked)["answer-without-end"] == "error"
    assert "in 32 of 32 conversations tried" in the(checked, "template-not-the-models-own").title


def test_report_summary_and_page_say_what_the_answers_are(check: CheckRows) -> None:
    checked = check(PAIRS)
    totals = checked.to_dict()["answers"]
    assert (totals["pairs"], totals["chosen_longer"] + totals["rejected_longer"] <= 40) == (40, True)
    line = f"chosen answers have {round(totals['chosen_tokens'] / 40)} tokens in the mean, rejected ones"
    assert any(row.plain.startswith(f"answers  {line}") for row in summarise(checked))
    assert f"<p>C{line[1:]}" in "".join(write_check_page(checked))
    totals = check(VERDICTS, stage="kto").to_dict()["answers"]
    assert (totals["pairs"], totals["good"], totals["bad"]) == (0, 20, 20)


def test_prompts_without_answers_have_nothing_to_find(check: CheckRows) -> None:
    prompts = [{"prompt": f"What comes after {n}, and why?"} for n in range(30)]
    assert found_ids(check(prompts, stage="grpo")) == {}
    assert found_ids(check([{**row, "solution": 7} for row in prompts[:9]], stage="grpo")) == {}
