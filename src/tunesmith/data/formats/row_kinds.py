"""What the rows of a dataset hold, as its columns show it, and the message where the run's stage learns from others.

Knows no layouts; `recognise` finds the layout of rows that are of the right kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.config.stages import ROWS_OF_STAGE, STAGE_OF_ROWS, RowKind
from tunesmith.errors import UsageError

Rows = Sequence[Mapping[str, Any]]

PAIR_COLUMNS = ("chosen", "rejected")
VERDICT_COLUMNS = ("kto_tag", "label")
TEXT_COLUMNS = ("text", "content", "raw_content", "document", "txt", "caption")
MESSAGE_COLUMNS = ("messages", "conversations")
QUESTION_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "input")
ANSWER_COLUMNS = ("output", "response", "answer", "completion")

_WHAT: Mapping[RowKind, str] = {
    "documents": "plain text",
    "conversations": "questions with their answers",
    "pairs": "chosen and rejected answers",
    "verdicts": "answers marked good or bad",
    "prompts": "questions without answers",
}
EXPECTED: Mapping[RowKind, str] = {
    "documents": "plain text in a column `text` (or named by `columns: {prompt: NAME}` in dataset_info.json)",
    "conversations": "messages, conversations, or a question and an answer (instruction and output, prompt and "
    "response, …)",
    "pairs": "columns chosen and rejected (`ranking: true` in dataset_info.json)",
    "verdicts": "a column kto_tag or label that is true or false (`columns: {kto_tag: NAME}` in dataset_info.json)",
    "prompts": "messages, conversations or a prompt, maybe with an answer to judge by (solution, answer, output, …)",
}
"""What rows of each kind must have, for messages."""


@dataclass(frozen=True, slots=True)
class Held:
    """What rows hold, and the columns that show it."""

    kind: RowKind
    shown_by: str


def held_by(rows: Rows) -> Held | None:
    """What rows that nobody described hold; None where no column shows it."""
    keys = keys_of(rows)
    if all(column in keys for column in PAIR_COLUMNS):
        return Held("pairs", "columns chosen and rejected")
    has_messages = any(column in keys for column in MESSAGE_COLUMNS)
    has_answer = any(column in keys for column in ANSWER_COLUMNS)
    verdict = verdict_column(rows)
    if verdict is not None and (has_messages or has_answer):
        return Held("verdicts", f"column {verdict}, true or false")
    asked = next((column for column in QUESTION_COLUMNS if column in keys), None)
    if has_messages or (asked and has_answer):
        return Held("conversations", f"columns {', '.join(keys)}")
    text = text_column(rows)
    if asked is None and text is not None:
        return Held("documents", f"column {text}")
    return None if asked is None else Held("prompts", f"column {asked}, and none with answers")


def keys_of(rows: Rows) -> list[str]:
    """Every column that some row has, in order."""
    return list(dict.fromkeys(key for row in rows for key in row))


def verdict_column(rows: Rows) -> str | None:
    """The column that says of every row whether its answer is good.

    `label` may be anything, and is one where it says so of every row; `kto_tag` leaves no doubt, whatever it holds.
    """
    for column in VERDICT_COLUMNS:
        named = column == "kto_tag" and any(column in row for row in rows)
        if named or (rows and all(isinstance(row.get(column), bool) for row in rows)):
            return column
    return None


def text_column(rows: Rows) -> str | None:
    """The column that holds documents: text, or a list of typed parts."""
    for column in TEXT_COLUMNS:
        values = [row[column] for row in rows if row.get(column) is not None]
        if values and all(isinstance(value, str | list) for value in values):
            return column
    return None


def fits(held: Held | None, rows: Rows, *, wanted: RowKind) -> bool:
    """Whether a stage that learns from `wanted` can use the rows; unknown where no column shows what they hold.

    Text may stand beside other things, and a question needs no answer where the model answers it.
    """
    if wanted == "documents" and text_column(rows) == "text":
        return True
    if held is None:
        return True
    return held.kind == wanted or (wanted == "prompts" and held.kind == "conversations")


def wrong_rows(name: str, held: Held, *, stage: str) -> UsageError:
    """The error for the dataset `name`, whose rows are for another stage than the run's."""
    wanted = ROWS_OF_STAGE[stage]
    to_all = (
        "; to train on all answers, bad ones too, describe it in dataset_info.json without kto_tag"
        if (held.kind, wanted) == ("verdicts", "conversations")
        else ""
    )
    return UsageError(
        f"dataset {name} holds {_WHAT[held.kind]} ({held.shown_by}); stage: {stage} needs {EXPECTED[wanted]}. "
        f"Set stage: {STAGE_OF_ROWS[held.kind]}, or name another dataset{to_all}"
    )
