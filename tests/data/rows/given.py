"""Datasets of a few rows, written and opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import Cursor, RowRef


def alpaca(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"q{index}", "output": f"a{index}"} for index in range(start, start + count)]


def chat(question: str, **columns: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return {"messages": messages, **columns}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return str(path)


def write_lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def opened(name: str, **settings: Any) -> Dataset:
    """The dataset `name`, opened with these data settings."""
    return open_datasets([name], Settings(data=DataSettings(**settings)))[0]


def register(folder: Path, entry: dict[str, Any], rows: list[Any], **settings: Any) -> Dataset:
    """`rows` as the dataset `mine` of a dataset_info.json."""
    write(folder / "rows.json", rows)
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "rows.json", **entry}}))
    return opened("mine", dataset_dir=str(folder), **settings)


def refs(dataset: Dataset) -> list[RowRef]:
    return [dataset.ref(index) for index in range(dataset.num_rows)]


def answers(dataset: Dataset, found: list[RowRef] | None = None) -> list[str]:
    return [dataset.conversation(ref).messages[-1].text for ref in found or refs(dataset)]


def streamed(dataset: Dataset, cursor: Cursor | None = None, *, size: int = 4) -> list[RowRef]:
    return [ref for block in dataset.blocks(cursor, rows_per_block=size) for ref in block.refs]
