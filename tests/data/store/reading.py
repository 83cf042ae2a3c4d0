"""How tests read a whole file: every row in order, by the addresses that are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.data.store.address import Address
from tunesmith.data.store.kinds import open_row_file
from tunesmith.data.store.row_file import RowFile

ROWS: list[dict[str, Any]] = [{"q": "你好", "a": "1"}, {"q": "two\nlines", "a": "2"}]


def addresses(file: RowFile, start: Address | None = None) -> list[Address]:
    """The addresses of all rows from `start` on."""
    return [(first, second) for block in file.blocks(start) for first, second in block.tolist()]


def rows_of(path: Path) -> list[Any]:
    """All rows of the file at `path`."""
    file = open_row_file(path)
    return [file.read(address) for address in addresses(file)]


def written(path: Path, content: str | bytes) -> Path:
    """The file at `path`, holding `content`."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
