"""A data check of a few rows, for tests of what it finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.config.read import load_settings_from
from tunesmith.data.report.check import CheckedData, check_data


def dialogue(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A row of one question and its answer, in the openai format."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **more}


def sound_rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Rows in which there is nothing to find."""
    return [
        dialogue(f"What comes after {number}, and why?", f"{number + 1}, as one is added.")
        for number in range(start, start + count)
    ]


def write_rows(folder: Path, rows: Sequence[Any], *, name: str = "rows.json") -> Path:
    """A JSON file of `rows`."""
    file = folder / name
    file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return file


def check_rows(
    model: Path,
    folder: Path,
    rows: Sequence[Any],
    *,
    held_out: Sequence[Any] = (),
    limit: int | None = None,
    **keys: Any,
) -> CheckedData:
    """The check of `rows` with the tokenizer of `model`; `keys` are settings."""
    keys["dataset"] = str(write_rows(folder, rows))
    if held_out:
        keys["eval_dataset"] = str(write_rows(folder, held_out, name="held_out.json"))
    return check_files(model, **keys)


def check_files(model: Path, *, limit: int | None = None, **keys: Any) -> CheckedData:
    """The check of the datasets that `keys` name."""
    settings = load_settings_from(
        {"model_name_or_path": str(model), "encoding_cache": False, "preprocessing_num_workers": 1, **keys}, verb="data"
    )
    return check_data(settings, limit=limit, watch=lambda done, total: None)


def found_ids(checked: CheckedData) -> dict[str, str]:
    """Each finding's id and severity."""
    return {finding.id: finding.severity for finding in checked.findings}
