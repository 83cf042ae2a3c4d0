"""Which format rows are in that nobody described: a straight path in `dataset`.

Looks at the keys of the first rows only. What it decides is said to the user by whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.chat.message import MediaKind
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout, Tags
from tunesmith.errors import DataError, NotSupportedYetError

_QUESTION_AND_ANSWER = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("prompt", "output"),
    ("question", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
)
_MEDIA_COLUMNS: dict[str, MediaKind] = {"images": "image", "videos": "video", "audios": "audio"}
_OPTIONAL = {"system": "system", "tools": "tools", "images": "images", "videos": "videos", "audios": "audios"}


@dataclass(frozen=True, slots=True)
class Recognised:
    """The layout that fits, and the keys that showed it."""

    layout: Layout
    keys: tuple[str, ...]


def recognise(rows: Sequence[Mapping[str, Any]], *, media_folder: Path | None) -> Recognised:
    """The layout of `rows`, the first rows of a dataset.

    Raises NotSupportedYetError for preference pairs; DataError for rows of no known format.
    """
    if not rows:
        raise DataError('the first rows are no objects; expected rows like {"messages": […]}')
    keys = list(dict.fromkeys(key for row in rows for key in row))
    _refuse_other_stages(rows, keys)
    expected = frozenset(kind for column, kind in _MEDIA_COLUMNS.items() if column in keys)
    for column in ("messages", "conversations"):
        sample = _first_message(rows, column)
        if sample is not None:
            formatting, tags = _of_messages(sample, keys)
            has_single_image = formatting in ("llava", "minicpmv")
            optional = {**_OPTIONAL, "images": "image"} if has_single_image else _OPTIONAL
            layout = Layout(formatting, Columns(messages=column, **optional), tags, expected, media_folder)
            return Recognised(layout, (column, *(["image"] if has_single_image else [])))
    for prompt, response in _QUESTION_AND_ANSWER:
        if prompt in keys and response in keys:
            query = "input" if prompt != "input" else None
            columns = Columns(prompt=prompt, query=query, response=response, history="history", **_OPTIONAL)
            return Recognised(Layout("alpaca", columns, Tags(), expected, media_folder), (prompt, response))
    raise DataError(
        f"no format fits rows with the keys {', '.join(keys) or '(none)'}; expected messages, conversations, or a "
        "question and an answer (instruction and output, prompt and response, …). Rename the keys, or describe the "
        "dataset in dataset_info.json with `formatting` and `columns`"
    )


def refuse_plain_text(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Raise NotSupportedYetError where the rows of the dataset `name` hold nothing but a `text`."""
    if rows and all(list(row) == ["text"] for row in rows):
        raise NotSupportedYetError(
            f"dataset {name} is plain text (only a column `text`), data for stage: pt, which is not there yet; stage: "
            "sft wants questions and answers"
        )


def _refuse_other_stages(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    if "chosen" in keys and "rejected" in keys:
        raise NotSupportedYetError("rows with chosen and rejected are preference pairs for stage: dpo, not there yet")
    verdicts = [row.get("kto_tag", row.get("label")) for row in rows]
    if all(isinstance(verdict, bool) for verdict in verdicts):
        raise NotSupportedYetError(
            "rows whose answers are marked good or bad (kto_tag or label, true or false) are for stage: kto, which is "
            "not there yet; to train on all of the answers, bad ones too, describe the dataset in dataset_info.json"
        )


def _first_message(rows: Sequence[Mapping[str, Any]], column: str) -> Mapping[str, Any] | None:
    for row in rows:
        messages = row.get(column)
        if isinstance(messages, list) and messages and isinstance(messages[0], Mapping):
            return messages[0]
    return None


def _of_messages(message: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, Tags]:
    has_single_image = "image" in keys and "images" not in keys
    if "from" in message:
        return ("llava" if has_single_image else "sharegpt"), Tags()
    return ("minicpmv" if has_single_image else "openai"), OPENAI_TAGS
