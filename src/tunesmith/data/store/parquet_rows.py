"""Parquet files: a row group is read when the first of its rows is due, and kept while the memory set aside allows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.store.address import Address
from tunesmith.data.store.row_file import Addresses
from tunesmith.data.store.tables import count_blocks, read_row, row_bytes
from tunesmith.errors import DataError

MAX_KEPT_BYTES = 128 << 20


class ParquetRows:
    """The rows of the Parquet file at `path`; row groups of up to `max_kept_bytes`, at least one, stay in memory."""

    def __init__(self, path: Path, *, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._path = path
        self._max_kept_bytes = max_kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._num_kept_bytes = 0
        self._opened: Any = None

    def _file(self) -> Any:
        """The open file. Its own threads are not used: they do not live on in a forked process."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._opened is None:
            try:
                self._opened = pq.ParquetFile(self._path, pre_buffer=False)
            except (pa.ArrowException, OSError) as error:
                raise self._broken(error) from None
        return self._opened

    def _broken(self, error: Exception) -> DataError:
        return DataError(f"{self._path} is not a sound Parquet file ({error})")

    def counts(self) -> Sequence[int]:
        """Rows of each row group. Raises DataError for a broken file."""
        metadata = self._file().metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the rows from `start` on, a row group at a time."""
        return count_blocks(self.counts(), start)

    def read(self, address: Address) -> Any:
        """The row at `address`, encoded media as they are. Raises DataError where its row group is broken."""
        return read_row(self._group(address[0]), address[1])

    def raw(self, address: Address) -> bytes:
        """The row in a form that is equal for equal rows."""
        return row_bytes(self.read(address))

    def _group(self, group: int) -> Any:
        with self._lock:
            if group not in self._kept:
                table = self._read_group(group)
                self._kept[group] = table, table.nbytes
                self._num_kept_bytes += table.nbytes
            self._kept.move_to_end(group)
            while self._num_kept_bytes > self._max_kept_bytes and len(self._kept) > 1:
                _, (_, num_bytes) = self._kept.popitem(last=False)
                self._num_kept_bytes -= num_bytes
            return self._kept[group][0]

    def _read_group(self, group: int) -> Any:
        """A record batch, whose rows are quick to reach; a table where the row group is too large for one."""
        import pyarrow as pa

        try:
            table = self._file().read_row_group(group, use_threads=False).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from None
        batches = table.to_batches()
        return batches[0] if len(batches) == 1 else table
