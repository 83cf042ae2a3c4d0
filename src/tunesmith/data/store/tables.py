"""Rows of Arrow tables and record batches as plain objects, and plain objects as bytes that tell rows apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tunesmith.data.store.address import Address
from tunesmith.data.store.row_file import Addresses


def count_blocks(counts: Sequence[int], start: Address | None) -> Iterator[Addresses]:
    """The addresses (part, row in it) of parts with `counts` rows, from `start` on; a block a part."""
    first_part, first_row = start or (0, 0)
    for part in range(first_part, len(counts)):
        rows = np.arange(first_row if part == first_part else 0, counts[part], dtype=np.int64)
        if len(rows):
            yield np.stack((np.full_like(rows, part), rows), axis=1)


def read_row(table: Any, row: int) -> Any:
    """Row `row` of a pyarrow record batch or table.

    Nulls inside it are left out: Arrow gives every object the keys of all others, filled with null.
    """
    names, columns = table.schema.names, table.columns
    return _without_nulls({name: column[row].as_py() for name, column in zip(names, columns, strict=True)})


def row_bytes(row: Any) -> bytes:
    """Bytes that are equal where `row`, made of plain objects, is: every value with its type and length."""
    return b"".join(_write(row))


def _write(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        yield b"{%d " % len(value)
        for key, inner in value.items():
            yield from _write(key)
            yield from _write(inner)
    elif isinstance(value, list):
        yield b"[%d " % len(value)
        for inner in value:
            yield from _write(inner)
    else:
        content = value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
        yield b"%s %d " % (type(value).__name__.encode(), len(content))
        yield content


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
