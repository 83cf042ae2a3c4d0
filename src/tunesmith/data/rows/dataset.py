"""A dataset as rows that are read when they are due, by number or as a stream of blocks.

    names → catalog entries → files → RowRef → row → Conversation

Only the first rows are read when a dataset is opened. Knows no tokenizer and no template, and opens no media.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith import log
from tunesmith.chat.message import Conversation, RowSource
from tunesmith.config.settings import Settings
from tunesmith.data.formats.layout import Layout
from tunesmith.data.formats.table import read_row
from tunesmith.data.formats.values import describe
from tunesmith.data.problem import RowError
from tunesmith.data.rows.catalog import find_datasets
from tunesmith.data.rows.differences import note_differences
from tunesmith.data.rows.entry import DatasetEntry
from tunesmith.data.rows.first_rows import find_layout, read_first_rows
from tunesmith.data.rows.hub import HubAccess, hub_access, list_hub_files, load_hub_files
from tunesmith.data.rows.open_files import OpenFiles
from tunesmith.data.rows.selection import Selection, select_rows
from tunesmith.data.rows.sources import DataFile, list_files
from tunesmith.data.store.address import Address, Block, Cursor, RowRef
from tunesmith.data.store.index import RowIndex, index_rows
from tunesmith.data.store.parquet_rows import ParquetRows
from tunesmith.data.store.row_file import Addresses, Unreadable

_ROWS_PER_BLOCK = 1024
_BETWEEN_ROWS = b"\0neighbour\0"
_NO_ROWS = np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class RowLimits:
    """Which rows of a dataset are used.

    num_samples: so many, drawn at random; the first ones of a stream, whose other rows are not known yet
    max_samples: at most this many of those
    seed:        decides the draw
    """

    num_samples: int | None = None
    max_samples: int | None = None
    seed: int = 42

    @property
    def of_stream(self) -> int | None:
        """How many rows a stream gives; None for all."""
        return min((limit for limit in (self.num_samples, self.max_samples) if limit is not None), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """The used rows, and every file's addresses."""

    selection: Selection
    files: tuple[RowIndex, ...]

    def num_used(self, file: int) -> int:
        """Rows of the file that may be used: all of them, or the first; an index may know of more."""
        known, selection = len(self.files[file]), self.selection
        return known if selection.drawn is not None else min(known, selection.num_rows - selection.starts[file])


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """The row whose answer a judged one is compared with."""

    address: Address
    conversation: Conversation


class Dataset:
    """One dataset of a run. Costs no memory a row beyond memory-mapped addresses; may be pickled and forked."""

    def __init__(
        self, entry: DatasetEntry, files: Sequence[DataFile], layout: Layout, *, number: int, limits: RowLimits
    ) -> None:
        self.name = entry.name
        self.place = str(entry.place)
        self.layout_key = _layout_key(layout)
        self._entry = entry
        self._files = tuple(files)
        self._layout = layout
        self._number = number
        self._limits = limits
        self._open = OpenFiles(files)
        self._built: _Index | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_built": None}  # addresses are mapped again where they are needed

    @property
    def num_rows(self) -> int:
        """Rows that are used. Finds the rows of all files the first time, so not for streams. Raises DataError."""
        return self._index.selection.num_rows

    @property
    def num_bytes(self) -> int | None:
        """What its files take; None where some are on a hub."""
        places = [file.place for file in self._files if isinstance(file.place, Path)]
        return sum(place.stat().st_size for place in places) if len(places) == len(self._files) else None

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The used rows by their numbers among all rows of the files: the first ones, or those that were drawn."""
        selection = self._index.selection
        return np.arange(selection.num_rows) if selection.drawn is None else selection.drawn

    @property
    def block_starts(self) -> tuple[int, ...] | None:
        """Numbers of the rows that a row group begins with, which is decoded as a whole; None without Parquet files."""
        files = [self._open[number] for number in range(len(self._index.files))]
        if not any(isinstance(file, ParquetRows) for file in files):
            return None
        counts = (
            file.counts() if isinstance(file, ParquetRows) else [len(rows)]
            for file, rows in zip(files, self._index.files, strict=True)
        )
        return tuple(accumulate(chain.from_iterable(counts), initial=0))[:-1]

    def ref(self, index: int) -> RowRef:
        """The used row `index`. Raises IndexError, and DataError as num_rows."""
        file, row = self._index.selection.locate(index)
        return RowRef(self._number, file, row, self._index.files[file][row])

    def source(self, ref: RowRef) -> RowSource:
        """Where the row stands, for messages."""
        file = self._files[ref.file]
        return RowSource(file.name, file.first_row + ref.row)

    def read(self, ref: RowRef) -> dict[str, Any] | Unreadable:
        """The row as it stands in its file. Raises DataError where the whole file cannot be read."""
        row = self._open[ref.file].read(ref.address)
        return row if isinstance(row, dict | Unreadable) else Unreadable(_describe_wrong_type(row))

    def raw(self, ref: RowRef) -> bytes:
        """All that the row's conversation is made of, equal for equal ones: what caches go by."""
        raw = self._open[ref.file].raw(ref.address)
        neighbour = self._neighbour(ref)
        return raw if neighbour is None else raw + _BETWEEN_ROWS + self._open[ref.file].raw(neighbour.address)

    def conversation(self, ref: RowRef) -> Conversation:
        """The row as a conversation that knows where it stands. Raises RowError; DataError as read."""
        conversation = replace(self._conversation_at(ref.file, ref.address), source=self.source(ref))
        if self._layout.rows != "verdicts":
            return conversation
        neighbour = self._neighbour(ref)
        if neighbour is None:
            raise RowError(
                "no other answer",
                "no other row of this file can be used, and stage: kto compares each answer with that of another row; "
                "add rows",
            )
        return replace(conversation, other_answer=neighbour.conversation.messages[-1])

    def _conversation_at(self, file: int, address: Address) -> Conversation:
        row = self._open[file].read(address)
        if isinstance(row, Unreadable):
            raise RowError("unreadable row", row.reason)
        if not isinstance(row, dict):
            raise RowError("wrong type", _describe_wrong_type(row))
        conversation = read_row(row, self._layout)
        note_differences(self._entry, self._layout, row, conversation)
        return conversation

    def _neighbour(self, ref: RowRef) -> _Neighbour | None:
        """Of rows with verdicts the usable one before `ref` in its file, round the end; None where there is none."""
        if self._layout.rows != "verdicts":
            return None
        addresses = self._index.files[ref.file]
        for row in chain(range(ref.row - 1, -1, -1), range(self._index.num_used(ref.file) - 1, ref.row, -1)):
            with suppress(RowError):
                return _Neighbour(addresses[row], self._conversation_at(ref.file, addresses[row]))
        return None

    def fingerprint(self) -> str:
        """32 hex digits that change with the files, the layout and which rows are used. Raises DataError."""
        seed = self._limits.seed if self._limits.num_samples is not None else 0
        digest = hashlib.blake2b(digest_size=16)
        for part in (
            self.layout_key,
            repr(replace(self._limits, seed=seed)),
            *(file.version() for file in self._files),
        ):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()

    def blocks(self, cursor: Cursor | None = None, *, rows_per_block: int = _ROWS_PER_BLOCK) -> Iterator[Block]:
        """The rows from `cursor` on in the order of the files, found as they are asked for; no more than the limits
        allow. Raises DataError where a file is broken, when that place is reached."""
        limit = self._limits.of_stream
        for (start, addresses), (end, _) in pairwise(self._stretches(cursor or Cursor(), rows_per_block)):
            used = addresses if limit is None else addresses[: max(0, limit - start.num_done)]
            if len(used):
                yield Block(self._refs(start, used), start, replace(end, num_done=start.num_done + len(used)))
            if len(used) < len(addresses):
                return

    def _stretches(self, start: Cursor, rows_per_block: int) -> Iterator[tuple[Cursor, Addresses]]:
        """Up to `rows_per_block` addresses at a time, each with the cursor before it; none at the end of a file."""
        num_done = start.num_done
        for file in range(start.file, len(self._files)):
            row = start.row if file == start.file else 0
            for found in self._open[file].blocks((start.first, start.second) if row else None):
                for begin in range(0, len(found), rows_per_block):
                    addresses = found[begin : begin + rows_per_block]
                    first, second = addresses[0].tolist()
                    yield Cursor(file, row, first, second, num_done), addresses
                    row, num_done = row + len(addresses), num_done + len(addresses)
            yield Cursor(file + 1, num_done=num_done), _NO_ROWS

    def _refs(self, start: Cursor, addresses: Addresses) -> tuple[RowRef, ...]:
        return tuple(
            RowRef(self._number, start.file, row, (first, second))
            for row, (first, second) in enumerate(addresses.tolist(), start.row)
        )

    @property
    def _index(self) -> _Index:
        if self._built is None:
            self._built = self._build_index()
        return self._built

    def _build_index(self) -> _Index:
        limits = self._limits
        at_most = None if limits.num_samples is not None else limits.max_samples
        files: list[RowIndex] = []
        for number, file in enumerate(self._files):
            num_left = None if at_most is None else at_most - sum(map(len, files))
            if num_left is not None and num_left <= 0:
                break
            files.append(index_rows(self._open[number], file.local_path(), at_most=num_left))
        selection = select_rows(
            [len(file) for file in files],
            name=self.name,
            num_samples=limits.num_samples,
            max_samples=limits.max_samples,
            seed=limits.seed,
        )
        return _Index(selection, tuple(files))


def open_datasets(names: Sequence[str], settings: Settings, *, first_number: int = 0) -> tuple[Dataset, ...]:
    """The datasets `names`, numbered from `first_number` on in their RowRefs.

    Without `streaming` the rows of all files are found (kept for the next time), so a file that is cut or broken shows
    here. Raises UsageError for a name that is no dataset, and for rows that another stage than the run's learns from;
    DataError for files that cannot be read or hold no rows.
    """
    access = hub_access(settings.model)
    entries = find_datasets(names, settings.data)
    return tuple(_open(entry, settings, access, number=number) for number, entry in enumerate(entries, first_number))


def _open(entry: DatasetEntry, settings: Settings, access: HubAccess, *, number: int) -> Dataset:
    streaming = settings.data.streaming
    files = _files_of(entry, access, streaming=streaming)
    limits = RowLimits(entry.num_samples, settings.data.max_samples, settings.training.seed)
    if streaming and entry.num_samples is not None:
        log.note_once(f"dataset {entry.name}: with streaming, num_samples takes the first rows instead of a draw")
    at_most = limits.max_samples if entry.num_samples is None else None
    first = read_first_rows(entry, files, at_most=at_most)
    layout = find_layout(entry, first, stage=settings.training.stage)
    dataset = Dataset(entry, files, layout, number=number, limits=limits)
    if not streaming:
        log.info(f"{entry.name}: {dataset.num_rows} rows from {dataset.place}")
    return dataset


def _files_of(entry: DatasetEntry, access: HubAccess, *, streaming: bool) -> tuple[DataFile, ...]:
    if isinstance(entry.place, Path):
        return tuple(DataFile(str(path), path) for path in list_files(entry.place))
    return list_hub_files(entry.place, access) if streaming else load_hub_files(entry.place, access)


def _describe_wrong_type(row: object) -> str:
    return f"the row is {describe(row)}; expected an object"


def _layout_key(layout: Layout) -> str:
    """32 hex digits: the same for layouts that make the same conversation of a row."""
    folder = None if layout.media_folder is None else str(layout.media_folder.absolute())
    columns, tags, expected = asdict(layout.columns), asdict(layout.tags), sorted(layout.expects_media)
    parts = (layout.formatting, layout.rows, columns, tags, expected, folder)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
