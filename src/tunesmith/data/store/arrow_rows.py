"""Arrow files, both the stream that the datasets library writes and the file format: memory-mapped, nothing copied."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.store.address import Address
from tunesmith.data.store.row_file import Addresses
from tunesmith.data.store.tables import count_blocks, read_row, row_bytes
from tunesmith.data.store.unfinished import becoming
from tunesmith.errors import DataError


class ArrowRows:
    """The rows of the Arrow file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._loaded: list[Any] | None = None

    @property
    def _batches(self) -> list[Any]:
        """The record batches; their memory is the file's."""
        with self._lock:
            if self._loaded is None:
                self._loaded = _load_batches(self._path)
            return self._loaded

    def counts(self) -> Sequence[int]:
        """Rows of each record batch. Raises DataError for a broken file."""
        return [batch.num_rows for batch in self._batches]

    def blocks(self, start: Address | None = None) -> Iterator[Addresses]:
        """The addresses of the rows from `start` on, a batch at a time."""
        return count_blocks(self.counts(), start)

    def read(self, address: Address) -> Any:
        """The row at `address`, encoded media as they are."""
        return read_row(self._batches[address[0]], address[1])

    def raw(self, address: Address) -> bytes:
        """The row in a form that is equal for equal rows."""
        return row_bytes(self.read(address))


def write_stream(tables: Iterable[Any], path: Path) -> None:
    """Write pyarrow `tables` of one schema as an Arrow stream to `path`. Raises DataError for a full disk."""
    import pyarrow as pa

    try:
        with becoming(path) as target:
            writer: Any = None
            for table in tables:
                writer = writer or pa.ipc.new_stream(target, table.schema)
                writer.write_table(table)
            if writer is not None:
                writer.close()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}); make room, or set TUNESMITH_CACHE elsewhere") from None


def _load_batches(path: Path) -> list[Any]:
    import pyarrow as pa

    try:
        mapped = pa.memory_map(str(path))
        try:
            return list(pa.ipc.open_stream(mapped))  # what the datasets library writes
        except pa.ArrowInvalid:
            mapped.seek(0)
            opened = pa.ipc.open_file(mapped)
            return [opened.get_batch(index) for index in range(opened.num_record_batches)]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a sound Arrow file ({error})") from None
