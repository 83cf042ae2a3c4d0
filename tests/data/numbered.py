"""Datasets whose rows say which they are, for tests of what comes when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import RowRef


def numbered_row(number: int, *, words: int = 1) -> dict[str, Any]:
    question = {"role": "user", "content": f"row {number}"}
    return {"messages": [question, {"role": "assistant", "content": "word " * words}]}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_numbered(path: Path, num_rows: int) -> str:
    return write_rows(path, map(numbered_row, range(num_rows)))


def numbered_datasets(folder: Path, sizes: Sequence[int], **data: Any) -> tuple[Dataset, ...]:
    """One JSONL file a dataset, called a, b, c, …"""
    names = [write_numbered(folder / f"{chr(97 + number)}.jsonl", size) for number, size in enumerate(sizes)]
    return open_datasets(names, Settings(data=DataSettings(dataset=",".join(names), **data)))


def places(refs: Iterable[RowRef]) -> list[tuple[int, int]]:
    """(dataset, row)"""
    return [(ref.dataset, ref.row) for ref in refs]
