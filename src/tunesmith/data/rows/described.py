"""The layout that an entry of dataset_info.json gives, where its rows hold what the run's stage learns from.

Looks at the columns of the first rows only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.config.stages import ROWS_OF_STAGE, RowKind
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.formats.row_kinds import EXPECTED, Held, held_by, keys_of, text_column, wrong_rows
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.errors import UsageError

_SAID_BY: Mapping[RowKind, str] = {
    "pairs": "ranking or chosen and rejected in dataset_info.json",
    "verdicts": "kto_tag in dataset_info.json",
}


def described_layout(entry: DatasetEntry, layout: Layout, first: Sequence[Mapping[str, Any]], *, stage: str) -> Layout:
    """`layout` with what `stage` learns from. Raises UsageError where the rows hold something else."""
    wanted = ROWS_OF_STAGE[stage]
    held = _held(entry, layout, first)
    if wanted == "documents":
        return _of_documents(entry, layout, first, stage=stage)
    if held.kind == wanted or (wanted == "prompts" and held.kind == "conversations"):
        return replace(layout, rows=wanted)
    shown = held_by(first)
    if entry.holds is None and shown is not None and shown.kind == wanted:
        raise UsageError(
            f"dataset {entry.name}: its entry in dataset_info.json does not say what its rows have ({shown.shown_by}); "
            f"stage: {stage} needs {EXPECTED[wanted]}"
        )
    raise wrong_rows(entry.name, held, stage=stage)


def _held(entry: DatasetEntry, layout: Layout, first: Sequence[Mapping[str, Any]]) -> Held:
    """What rows hold that are read as the entry says."""
    if entry.holds is not None:
        return Held(entry.holds, _SAID_BY[entry.holds])
    if layout.formatting == "alpaca" and first and layout.columns.response not in keys_of(first):
        shown = held_by(first)
        if shown is not None and shown.kind in ("documents", "pairs", "prompts"):
            return shown
    return Held("conversations", f"formatting {layout.formatting}")


def _of_documents(entry: DatasetEntry, layout: Layout, first: Sequence[Mapping[str, Any]], *, stage: str) -> Layout:
    """The text stands in the column that `prompt` names; it may go unnamed where it is called `text`."""
    columns, keys = layout.columns, keys_of(first)
    named = None if columns.prompt == Columns().prompt else columns.prompt
    found = text_column(first)
    has_answers = columns.response in keys and columns.response != named
    if entry.holds is not None or layout.formatting != "alpaca" or has_answers or (named or found) is None:
        raise wrong_rows(entry.name, _held(entry, layout, first), stage=stage)
    return replace(layout, rows="documents", columns=replace(columns, prompt=named or found, query=None, response=None))
