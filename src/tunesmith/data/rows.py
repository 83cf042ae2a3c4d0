"""All rows of the named datasets as conversations, with every row that cannot be used named by file and number.

    names → catalog entries → rows of files or hubs → Conversation, images looked at by their headers

Knows no tokenizer and no template: rows that are sound here may still be cut or dropped for their length later.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tunesmith import log
from tunesmith.chat.message import Conversation, Media, RowSource
from tunesmith.config.data import DataSettings
from tunesmith.data.catalog import find_datasets
from tunesmith.data.differences import note_differences
from tunesmith.data.entry import DatasetEntry
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.formats.recognise import recognise, refuse_plain_text
from tunesmith.data.formats.table import FORMATS
from tunesmith.data.formats.values import describe
from tunesmith.data.hub import HubAccess, iterate_hub_rows
from tunesmith.data.json_rows import Unreadable
from tunesmith.data.problem import RowError, RowProblem, describe_problems
from tunesmith.data.sources import SourceRow, iterate_rows
from tunesmith.errors import DataError, NotSupportedYetError
from tunesmith.media.image import check_image

_NUM_FIRST_ROWS = 1000
"""Rows whose keys decide the format of a dataset nobody described."""

_NUM_IMAGES_FOR_THREADS = 200


@dataclass(frozen=True, slots=True)
class DatasetCounts:
    """What became of one dataset's rows: num_read = num_kept + num_bad."""

    name: str
    place: str
    num_read: int
    num_kept: int
    num_bad: int


@dataclass(frozen=True, slots=True)
class LoadedRows:
    """The usable rows in the order of datasets and files, the others with their reasons, and the counts."""

    conversations: tuple[Conversation, ...]
    problems: tuple[RowProblem, ...]
    counts: tuple[DatasetCounts, ...]


def load_conversations(
    names: Iterable[str], data: DataSettings, *, access: HubAccess | None = None, seed: int = 42
) -> LoadedRows:
    """Every row of the datasets `names`. `seed` decides which rows an entry's `num_samples` takes.

    Raises DataError listing all bad rows where `on_bad_row` is stop, or where no usable row is left; UsageError for a
    name that is no dataset; NotSupportedYetError for data of other stages, videos and audio.
    """
    loaded = [
        _load_dataset(entry, data, access=access or HubAccess(), seed=seed) for entry in find_datasets(names, data)
    ]
    rows = LoadedRows(
        conversations=tuple(chain.from_iterable(part.conversations for part in loaded)),
        problems=tuple(chain.from_iterable(part.problems for part in loaded)),
        counts=tuple(chain.from_iterable(part.counts for part in loaded)),
    )
    if rows.problems and (data.on_bad_row == "stop" or not rows.conversations):
        raise DataError(describe_problems(rows.problems, num_rows=sum(count.num_read for count in rows.counts)))
    return rows


def _load_dataset(entry: DatasetEntry, data: DataSettings, *, access: HubAccess, seed: int) -> LoadedRows:
    rows = iterate_rows(entry.place) if isinstance(entry.place, Path) else iterate_hub_rows(entry.place, access)
    selected = islice(_sample(rows, entry, seed=seed), data.max_samples)
    first = list(islice(selected, _NUM_FIRST_ROWS))
    if not first:
        raise DataError(f"dataset {entry.name}: {entry.place} has no rows")
    layout = _layout_of(entry, [row for _, row in first if isinstance(row, dict)])
    read = [_read_row(source, row, entry, layout) for source, row in chain(first, selected)]
    return _sort_out(entry, _look_at_images(read))


def _sample(rows: Iterator[SourceRow], entry: DatasetEntry, *, seed: int) -> Iterable[SourceRow]:
    """`num_samples` rows in random order, all of them before any comes again (as LLaMA-Factory); else all rows."""
    if entry.num_samples is None:
        return rows
    pool = list(rows)
    random = np.random.default_rng([seed, zlib.crc32(entry.name.encode())])
    chosen = random.permutation(len(pool))[: entry.num_samples]
    extra = random.integers(0, len(pool), entry.num_samples - len(chosen)) if pool else chosen
    return (pool[index] for index in (*chosen, *extra))


def _layout_of(entry: DatasetEntry, first: Sequence[Mapping[str, object]]) -> Layout:
    refuse_plain_text(first, entry.name)
    if entry.layout is not None:
        _check_columns(entry, entry.layout, first)
        return entry.layout
    try:
        recognised = recognise(first, media_folder=entry.media_folder)
    except NotSupportedYetError as error:
        raise NotSupportedYetError(f"dataset {entry.name}: {error}") from None
    except DataError as error:
        raise DataError(f"dataset {entry.name}: {error}") from None
    keys = ", ".join(recognised.keys)
    log.info(f"{entry.name}: read as {recognised.layout.formatting} (keys: {keys})")
    return recognised.layout


def _check_columns(entry: DatasetEntry, layout: Layout, first: Sequence[Mapping[str, object]]) -> None:
    """Say which columns that dataset_info.json names stand in no row.

    Raises DataError where it is the question's: the other half of it would be taken for the whole.
    """
    present = list(dict.fromkeys(key for row in first for key in row))
    named = {key: column for key, column in asdict(layout.columns).items() if column != getattr(Columns(), key)}
    for key, column in named.items() if present else ():
        if column is None or column in present:
            continue
        near = difflib.get_close_matches(column, present, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"they have {', '.join(present) or 'none'}"
        message = f"dataset {entry.name}: no row has the column {column!r} that `columns` names for {key}; {advice}"
        if key == "prompt" and layout.formatting == "alpaca":
            raise DataError(message)
        log.warning(message)


def _read_row(source: RowSource, row: object, entry: DatasetEntry, layout: Layout) -> Conversation | RowProblem:
    if isinstance(row, Unreadable):
        return RowProblem(source, "unreadable row", row.reason)
    if not isinstance(row, dict):
        return RowProblem(source, "wrong type", f"the row is {describe(row)}; expected an object")
    try:
        conversation = FORMATS[layout.formatting](row, layout)
    except RowError as error:
        return RowProblem(source, error.kind, error.detail)
    except NotSupportedYetError as error:
        raise NotSupportedYetError(f"dataset {entry.name} ({source}): {error}") from None
    note_differences(entry, layout, row, conversation)
    return replace(conversation, source=source)


def _look_at_images(read: list[Conversation | RowProblem]) -> list[Conversation | RowProblem]:
    """Conversations whose images cannot be opened become problems; each file is looked at once."""
    images = dict.fromkeys(
        media for item in read if isinstance(item, Conversation) for media in item.media() if media.kind == "image"
    )
    if len(images) < _NUM_IMAGES_FOR_THREADS:
        faults = [_fault(image) for image in images]
    else:
        with ThreadPoolExecutor() as pool:  # waiting for the disk, mostly
            faults = list(pool.map(_fault, images, chunksize=32))
    fault_of = {image: fault for image, fault in zip(images, faults, strict=True) if fault}
    return [_with_fault(item, fault_of) for item in read] if fault_of else read


def _fault(image: Media) -> str:
    try:
        check_image(image)
    except DataError as error:
        return str(error)
    return ""


def _with_fault(item: Conversation | RowProblem, fault_of: Mapping[Media, str]) -> Conversation | RowProblem:
    if isinstance(item, Conversation):
        for media in item.media():
            if media in fault_of:
                return RowProblem(item.source, "unreadable image", fault_of[media])
    return item


def _sort_out(entry: DatasetEntry, read: Sequence[Conversation | RowProblem]) -> LoadedRows:
    conversations = tuple(item for item in read if isinstance(item, Conversation))
    problems = tuple(item for item in read if isinstance(item, RowProblem))
    counts = DatasetCounts(entry.name, str(entry.place), len(read), len(conversations), len(problems))
    bad = f", {counts.num_bad} more cannot be used" if problems else ""
    log.info(f"{entry.name}: {counts.num_kept} rows from {counts.place}{bad}")
    return LoadedRows(conversations, problems, (counts,))
