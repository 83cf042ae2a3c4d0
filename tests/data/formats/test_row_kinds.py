"""What rows hold, by their columns, and which stages can use them."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.config.stages import RowKind
from tunesmith.data.formats.row_kinds import Held, fits, held_by, wrong_rows

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": MESSAGES}, "conversations"),
        ({"instruction": "a", "output": "b"}, "conversations"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "pairs"),
        ({"messages": MESSAGES, "chosen": [], "rejected": []}, "pairs"),
        ({"messages": MESSAGES, "label": True}, "verdicts"),
        ({"prompt": "a", "completion": "b", "kto_tag": False}, "verdicts"),
        ({"messages": MESSAGES, "label": 3}, "conversations"),
        ({"text": "a", "label": True}, "documents"),
        ({"text": "a", "url": "b"}, "documents"),
        ({"content": "a"}, "documents"),
        ({"prompt": "a", "solution": "b"}, "prompts"),
        ({"a": 1}, None),
    ],
)
def test_columns_show_what_rows_hold(row: dict[str, Any], kind: RowKind | None) -> None:
    held = held_by([row])
    assert (held.kind if held else None) == kind


def test_a_verdict_in_some_rows_alone_is_none() -> None:
    held = held_by([{"messages": MESSAGES, "label": True}, {"messages": MESSAGES}])
    assert held is not None and held.kind == "conversations"


def test_a_kto_tag_is_a_verdict_even_where_it_is_none_or_cannot_be_read() -> None:
    held = held_by([{"messages": MESSAGES, "kto_tag": "yes"}, {"messages": MESSAGES}])
    assert held is not None and held.kind == "verdicts"


def test_text_may_stand_beside_anything_and_prompts_may_have_answers() -> None:
    rows = [{"messages": MESSAGES, "text": "the same, written out"}]
    held = held_by(rows)
    assert held is not None and held.kind == "conversations"
    assert fits(held, rows, wanted="documents") and fits(held, rows, wanted="prompts")
    assert not fits(held, rows, wanted="pairs") and not fits(held, rows, wanted="verdicts")
    assert fits(None, [{"a": 1}], wanted="pairs")


def test_the_message_names_dataset_contents_and_stages() -> None:
    error = wrong_rows("mine", Held("verdicts", "column label, true or false"), stage="sft")
    assert str(error) == (
        "dataset mine holds answers marked good or bad (column label, true or false); stage: sft needs messages, "
        "conversations, or a question and an answer (instruction and output, prompt and response, …). Set stage: kto, "
        "or name another dataset; to train on all answers, bad ones too, describe it in dataset_info.json without "
        "kto_tag"
    )
    assert "Set stage: dpo (or orpo, simpo, rm), or name" in str(wrong_rows("x", Held("pairs", "y"), stage="kto"))
