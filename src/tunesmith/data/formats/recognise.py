"""Which format rows are in that nobody described: a straight path in `dataset`.

Looks at the keys of the first rows only, for what the run's stage learns from. What it decides is said to the user by
whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith.config.stages import RowKind
from tunesmith.data.formats.layout import OPENAI_TAGS, Columns, Layout, Tags
from tunesmith.data.formats.row_kinds import (
    EXPECTED,
    MESSAGE_COLUMNS,
    PAIR_COLUMNS,
    QUESTION_COLUMNS,
    Rows,
    keys_of,
    text_column,
    verdict_column,
)
from tunesmith.data.formats.turns import KINDS
from tunesmith.errors import DataError

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
_REFERENCES = ("solution", "answer", "output", "response", "ground_truth", "completion")
"""What data sets of tasks with checkable answers call these."""

_ANSWERING = ("assistant", "gpt", "function_call")
_MEDIA = {"images": "images", "videos": "videos", "audios": "audios"}
_OPTIONAL = {"system": "system", "tools": "tools", **_MEDIA}


@dataclass(frozen=True, slots=True)
class Recognised:
    """The layout that fits, and the keys that showed it."""

    layout: Layout
    keys: tuple[str, ...]


def recognise(rows: Rows, *, media_folder: Path | None, wanted: RowKind = "conversations") -> Recognised:
    """The layout in which `rows`, the first rows of a dataset, give what is `wanted`.

    Raises DataError for rows of no known format.
    """
    if not rows:
        raise DataError('the first rows are no objects; expected rows like {"messages": […]}')
    keys = keys_of(rows)
    found = _FINDERS[wanted](rows, keys)
    if found is None:
        raise DataError(
            f"no format fits rows with the keys {', '.join(keys) or '(none)'}; expected {EXPECTED[wanted]}. Rename the "
            "keys, or describe the dataset in dataset_info.json with `formatting` and `columns`"
        )
    layout, shown = found
    columns = {"image": layout.columns.images, "video": layout.columns.videos, "audio": layout.columns.audios}
    expected = frozenset(kind for kind in KINDS if columns[kind] in keys)
    return Recognised(replace(layout, expects_media=expected, media_folder=media_folder, rows=wanted), shown)


_Found = tuple[Layout, tuple[str, ...]]


def _find_conversations(rows: Rows, keys: Sequence[str]) -> _Found | None:
    return _find_messages(rows, keys) or _find_question_and_answer(rows, keys)


def _find_messages(rows: Rows, keys: Sequence[str]) -> _Found | None:
    for column in MESSAGE_COLUMNS:
        sample = _first_message(rows, column)
        if sample is not None:
            formatting, tags = _of_messages(sample, keys)
            has_single_image = formatting in ("llava", "minicpmv")
            optional = {**_OPTIONAL, "images": "image"} if has_single_image else _OPTIONAL
            layout = Layout(formatting, Columns(messages=column, **optional), tags)
            return layout, (column, *(["image"] if has_single_image else []))
    return None


def _find_question_and_answer(rows: Rows, keys: Sequence[str]) -> _Found | None:
    for prompt, response in _QUESTION_AND_ANSWER:
        if prompt in keys and response in keys:
            return _asked(rows, keys, prompt, response), (prompt, response)
    return None


def _find_pairs(rows: Rows, keys: Sequence[str]) -> _Found | None:
    """Beside a conversation that ends with the question, beside the question alone, or as whole conversations."""
    if not all(column in keys for column in PAIR_COLUMNS):
        return None
    messages = _find_messages(rows, keys)
    prompt = next((column for column in QUESTION_COLUMNS if column in keys), None)
    if messages is not None and _ends_open(rows, messages[1][0]):
        layout, shown = messages
    elif prompt is not None:
        layout, shown = _asked(rows, keys, prompt, None), (prompt,)
    else:
        layout, shown = _whole(rows, keys), ()
    columns = replace(layout.columns, chosen="chosen", rejected="rejected")
    return replace(layout, columns=columns), (*shown, *PAIR_COLUMNS)


def _find_verdicts(rows: Rows, keys: Sequence[str]) -> _Found | None:
    column, found = verdict_column(rows), _find_conversations(rows, keys)
    if column is None or found is None:
        return None
    layout, shown = found
    return replace(layout, columns=replace(layout.columns, kto_tag=column)), (*shown, column)


def _find_prompts(rows: Rows, keys: Sequence[str]) -> _Found | None:
    """Rows of a task come with the answer under many names, or with none."""
    prompt = next((column for column in QUESTION_COLUMNS if column in keys), None)
    answer = next((column for column in _REFERENCES if column in keys and column != prompt), None)
    found = _find_messages(rows, keys)
    if found is None and prompt is None:
        return None
    layout, shown = found or (_asked(rows, keys, str(prompt), answer), (str(prompt),))
    columns = replace(layout.columns, response=answer)
    return replace(layout, columns=columns), (*shown, *([answer] if answer else []))


def _find_documents(rows: Rows, keys: Sequence[str]) -> _Found | None:
    column = text_column(rows)
    if column is None:
        return None
    columns = Columns(prompt=column, query=None, response=None, **(_MEDIA | _media_columns(keys)))
    return Layout("alpaca", columns), (column,)


_FINDERS: dict[RowKind, Callable[[Rows, Sequence[str]], _Found | None]] = {
    "documents": _find_documents,
    "conversations": _find_conversations,
    "pairs": _find_pairs,
    "verdicts": _find_verdicts,
    "prompts": _find_prompts,
}


def _asked(rows: Rows, keys: Sequence[str], prompt: str, response: str | None) -> Layout:
    """The layout of rows whose question stands in the column `prompt`, as text or as messages (TRL)."""
    speaking = [column for column in (prompt, response, *PAIR_COLUMNS) if column is not None]
    if any(isinstance(row.get(column), list) for row in rows for column in speaking):
        columns = Columns(messages=prompt, response=response, **(_OPTIONAL | _media_columns(keys)))
        return Layout("openai", columns, OPENAI_TAGS)
    query = "input" if prompt == "instruction" or (prompt != "input" and response is not None) else None
    columns = Columns(
        prompt=prompt, query=query, response=response, history="history", **(_OPTIONAL | _media_columns(keys))
    )
    return Layout("alpaca", columns)


def _whole(rows: Rows, keys: Sequence[str]) -> Layout:
    """The layout of pairs whose answers are whole conversations."""
    sample = _first_message(rows, "chosen") or {}
    columns = Columns(**(_OPTIONAL | _media_columns(keys)))
    return Layout("sharegpt", columns, Tags()) if "from" in sample else Layout("openai", columns, OPENAI_TAGS)


def _media_columns(keys: Sequence[str]) -> dict[str, str]:
    """The columns of media that the rows have: `images`, or a lone `image`, which holds one or a list of them."""
    return {key: kind for kind, key in zip(KINDS, _MEDIA, strict=True) if kind in keys and key not in keys}


def _first_message(rows: Rows, column: str) -> Mapping[str, Any] | None:
    for row in rows:
        messages = row.get(column)
        if isinstance(messages, list) and messages and isinstance(messages[0], Mapping):
            return messages[0]
    return None


def _ends_open(rows: Rows, column: str) -> bool:
    """Whether the messages end before an answer, so that one may follow."""
    ends = [messages[-1] for row in rows if (messages := row.get(column)) and isinstance(messages, list)]
    return any(isinstance(end, Mapping) and end.get("role", end.get("from")) not in _ANSWERING for end in ends[:1])


def _of_messages(message: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, Tags]:
    has_single_image = "image" in keys and "images" not in keys
    if "from" in message:
        return ("llava" if has_single_image else "sharegpt"), Tags()
    return ("minicpmv" if has_single_image else "openai"), OPENAI_TAGS
