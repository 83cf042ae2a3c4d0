"""The first rows of a dataset, and the layout that they show, or its described layout checked against them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith import log
from tunesmith.config.stages import ROWS_OF_STAGE
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.formats.recognise import recognise
from tunesmith.data.formats.row_kinds import fits, held_by, wrong_rows
from tunesmith.data.rows.described import described_layout
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.data.rows.sources import DataFile
from tunesmith.data.store.row_file import Unreadable
from tunesmith.errors import DataError

_NUM_FIRST_ROWS = 1000
"""Rows whose keys decide the format of a dataset nobody described."""

_MAX_MEDIA_BYTES = 32 << 20
"""Of encoded media among them: a hundred rows with pictures show their keys just as well."""


def read_first_rows(
    entry: DatasetEntry, files: Sequence[DataFile], *, at_most: int | None = None
) -> list[Mapping[str, Any]]:
    """Those of the first thousand rows of `files`, or of the first `at_most`, that are objects.

    Raises DataError where there is no row at all, or none that can be read.
    """
    first: list[Mapping[str, Any]] = []
    reason = ""
    num_rows, num_bytes = 0, 0
    for row in islice(_walk(files), min(_NUM_FIRST_ROWS, at_most or _NUM_FIRST_ROWS)):
        num_rows += 1
        if isinstance(row, dict):
            first.append(row)
            num_bytes += _count_media_bytes(row)
        elif isinstance(row, Unreadable):
            reason = reason or row.reason
        if num_bytes > _MAX_MEDIA_BYTES:
            break
    if num_rows == 0:
        raise DataError(f"dataset {entry.name}: {entry.place} has no rows")
    if reason and not first:
        raise DataError(f"dataset {entry.name}: none of the first rows of {entry.place} can be read: {reason}")
    return first


def _walk(files: Sequence[DataFile]) -> Iterator[Any]:
    """Rows in order; no second file of a hub is downloaded for them."""
    num_rows = 0
    for file in files:
        if num_rows and not isinstance(file.place, Path):
            return
        opened = file.open()
        for addresses in opened.blocks():
            for first, second in addresses.tolist():
                num_rows += 1
                yield opened.read((first, second))


def _count_media_bytes(value: object) -> int:
    if isinstance(value, dict | list):
        return sum(map(_count_media_bytes, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, bytes) else 0


def find_layout(entry: DatasetEntry, first: Sequence[Mapping[str, Any]], *, stage: str = "sft") -> Layout:
    """The layout that `entry` gives, checked against the `first` rows, or the one they show, which is said.

    Raises UsageError for rows that another stage than `stage` learns from; DataError for rows of no known format.
    """
    if entry.layout is not None:
        layout = described_layout(entry, entry.layout, first, stage=stage)
        _check_columns(entry, layout, first)
        return layout
    held, wanted = held_by(first), ROWS_OF_STAGE[stage]
    if held is not None and not fits(held, first, wanted=wanted):
        raise wrong_rows(entry.name, held, stage=stage)
    try:
        recognised = recognise(first, media_folder=entry.media_folder, wanted=wanted)
    except DataError as error:
        raise DataError(f"dataset {entry.name}: {error}") from None
    keys = ", ".join(recognised.keys)
    log.info(f"{entry.name}: read as {_name(recognised.layout)} (keys: {keys})")
    return recognised.layout


def _name(layout: Layout) -> str:
    return "documents" if layout.rows == "documents" else layout.formatting


def _check_columns(entry: DatasetEntry, layout: Layout, first: Sequence[Mapping[str, Any]]) -> None:
    """Say which columns that dataset_info.json names stand in no row.

    Raises DataError where it is the question's: the other half of it would be taken for the whole; or an answer's.
    """
    present = list(dict.fromkeys(key for row in first for key in row))
    named = {key: column for key, column in asdict(layout.columns).items() if column != asdict(Columns())[key]}
    for key, column in named.items() if present else ():
        if column is None or column in present:
            continue
        near = difflib.get_close_matches(column, present, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"they have {', '.join(present) or 'none'}"
        message = f"dataset {entry.name}: no row has the column {column!r} that `columns` names for {key}; {advice}"
        is_prompt = key == "prompt" and (layout.formatting == "alpaca" or layout.rows == "documents")
        if is_prompt or key in ("chosen", "rejected", "kto_tag"):
            raise DataError(message)
        log.warning(message)
