"""Entries of dataset_info.json under each stage: used as they are, or refused in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout
from tunesmith.data.rows.described import described_layout
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.errors import UsageError

TEXT = {"text": "Once upon a time.", "url": "a"}
TASK = {"instruction": "a", "input": "b", "output": "c"}
PAIR = {"instruction": "a", "chosen": "b", "rejected": "c"}


def described(layout: Layout, row: dict[str, Any], stage: str, **entry: Any) -> Layout:
    return described_layout(DatasetEntry("mine", Path("rows.json"), layout, **entry), layout, [row], stage=stage)


def test_the_layout_says_what_the_stage_learns_from() -> None:
    assert described(Layout(), TASK, "sft").rows == "conversations"
    assert described(Layout(), TASK, "grpo").rows == "prompts"
    assert described(Layout(), {"instruction": "a"}, "grpo").rows == "prompts"
    assert described(Layout(), PAIR, "orpo", holds="pairs").rows == "pairs"
    assert described(Layout(), PAIR, "rm").rows == "pairs"  # there is no answer that could be meant instead
    assert described(Layout("openai", tags=OPENAI_TAGS), {"messages": []}, "kto", holds="verdicts").rows == "verdicts"


@pytest.mark.parametrize(
    ("columns", "row", "column"),
    [
        (Columns(prompt="text"), TEXT, "text"),
        (Columns(), TEXT, "text"),
        (Columns(prompt="completion"), {"completion": "a", "source": "b"}, "completion"),
        (Columns(prompt="content"), {"content": "a", "text": "b"}, "content"),
    ],
)
def test_documents_stand_in_the_column_that_prompt_names(columns: Columns, row: dict[str, Any], column: str) -> None:
    layout = described(Layout(columns=columns), row, "pt")
    assert (layout.rows, layout.columns.prompt, layout.columns.response) == ("documents", column, None)


@pytest.mark.parametrize(
    ("layout", "row", "stage", "holds", "message"),
    [
        (Layout(), PAIR, "sft", "pairs", "holds chosen and rejected answers (ranking or chosen and rejected in"),
        (Layout(), TASK, "kto", "pairs", "stage: kto needs a column kto_tag or label"),
        (Layout(), TASK, "dpo", "verdicts", "holds answers marked good or bad (kto_tag in dataset_info.json)"),
        (
            Layout(),
            TASK,
            "dpo",
            None,
            "holds questions with their answers (formatting alpaca); stage: dpo needs columns",
        ),
        (Layout("sharegpt"), {"conversations": []}, "pt", None, "(formatting sharegpt); stage: pt needs plain text"),
        (Layout(), TASK, "pt", None, "stage: pt needs plain text in a column `text`"),
        (Layout(columns=Columns(prompt="text")), TEXT, "sft", None, "holds plain text (column text); stage: sft needs"),
        (Layout(columns=Columns(prompt="text")), TEXT, "grpo", None, "Set stage: pt"),
        (Layout(columns=Columns(prompt="text")), TEXT, "dpo", None, "Set stage: pt"),
        (Layout(), PAIR, "sft", None, "holds chosen and rejected answers (columns chosen and rejected)"),
        (Layout(), {"instruction": "a"}, "sft", None, "holds questions without answers (column instruction, and none"),
    ],
)
def test_other_rows_are_refused(layout: Layout, row: dict[str, Any], stage: str, holds: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        described(layout, row, stage, holds=holds)
    assert str(caught.value).startswith("dataset mine holds ") and message in str(caught.value)


def test_an_entry_that_forgets_to_say_so_is_told_the_key() -> None:
    with pytest.raises(
        UsageError, match=r"does not say what its rows have \(columns chosen and rejected\); .*`ranking: true`"
    ):
        described(Layout("sharegpt"), {"conversations": [], **PAIR}, "dpo")
    with pytest.raises(UsageError, match=r"does not say what its rows have \(column label, .*\); .*kto_tag: NAME"):
        described(Layout("openai"), {"messages": [], "label": True}, "kto")
