"""Where a row would come out differently from LLaMA-Factory: said once a run, when a row shows it.

Changes nothing; knows the researched faults of its readers and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith import log
from tunesmith.chat.message import Conversation
from tunesmith.data.formats.layout import Layout
from tunesmith.data.rows.entry import DatasetEntry

_OPTIONAL_COLUMNS = ("system", "tools", "history", "images", "videos", "audios")


def note_differences(entry: DatasetEntry, layout: Layout, row: Mapping[str, Any], conversation: Conversation) -> None:
    """Say what LLaMA-Factory would have done otherwise with this row of `entry`, the first time it happens."""
    if any("{{idx}}" in message.text for message in conversation.messages):
        log.note_once("text that reads {{idx}} stays as it is; LLaMA-Factory puts a turn's number in its place")
    if entry.layout is None:
        return
    _note_tags(entry, layout, conversation)
    _note_columns(entry, layout, row)
    if layout.formatting == "openai":
        log.note_once(
            "openai rows are read as they are: LLaMA-Factory adds 'detailed thinking off' to system messages, drops "
            "text beside tool calls, encodes tool arguments twice and cuts off a last tool message"
        )


def _note_tags(entry: DatasetEntry, layout: Layout, conversation: Conversation) -> None:
    shown = {
        "system_tag": layout.columns.system is None and conversation.messages[0].role == "system",
        "observation_tag": any(message.role == "tool" for message in conversation.messages),
        "function_tag": any(message.tool_calls for message in conversation.messages),
    }
    for tag, is_shown in shown.items():
        if is_shown and tag in entry.implied:
            log.note_once(
                f"dataset {entry.name}: `tags` leaves {tag} out, its documented default is used; LLaMA-Factory skips "
                "such rows without counting them"
            )


def _note_columns(entry: DatasetEntry, layout: Layout, row: Mapping[str, Any]) -> None:
    columns = layout.columns
    if layout.formatting == "alpaca" and "query" in entry.implied and columns.query and row.get(columns.query):
        log.note_once(
            f"dataset {entry.name}: `columns` leaves query out, its documented default {columns.query!r} is read; "
            'LLaMA-Factory ignores the column (write "query": null to do the same)'
        )
    read = {columns.system, columns.tools, columns.history, columns.images, columns.videos, columns.audios}
    for column in _OPTIONAL_COLUMNS:
        if column not in read and row.get(column) and layout.formatting in ("alpaca", "sharegpt", "openai"):
            log.note_once(
                f"dataset {entry.name}: rows have a column {column!r} that `columns` in dataset_info.json does not "
                "name, so it is not read, as in LLaMA-Factory; name it there to use it"
            )
