"""Datasets of pairs and of judged answers, and settings of runs that learn from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.train.runs import run_settings

_COLUMNS = {
    "dpo": {"messages": "messages", "chosen": "chosen", "rejected": "rejected", "images": "images"},
    "kto": {"messages": "messages", "kto_tag": "good", "images": "images"},
}
_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def write_preferences(folder: Path, *, stage: str, count: int = 10, images: bool = False) -> Path:
    """`count` rows for the stage dpo or kto, registered in dataset_info.json as "rows"; returns their file."""
    rows = [_row(folder, index, stage, images=images) for index in range(count)]
    columns = _COLUMNS[stage] if images else {key: name for key, name in _COLUMNS[stage].items() if key != "images"}
    entry = {"file_name": "rows.json", "formatting": "sharegpt", "columns": columns, "tags": _TAGS}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": entry | {"ranking": stage == "dpo"}}))
    file = folder / "rows.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def preference_settings(model: Path, folder: Path, *, stage: str, **changes: Any) -> dict[str, Any]:
    """Flat settings of a run on rows that `write_preferences` put into `folder`."""
    settings = run_settings(model, "rows", folder / "whole", **changes)
    return settings | {"dataset_dir": str(folder), "stage": stage, "lora_dropout": 0.0}


def _row(folder: Path, index: int, stage: str, *, images: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    question = f"How much is {index} and {index}?"
    if images:
        picture = folder / f"{index}.png"
        Image.new("RGB", (84 + 28 * (index % 2), 56), (20 * index % 256, 90, 200)).save(picture)
        row["images"], question = [str(picture)], f"<image>{question}"
    good = {"role": "assistant", "content": f"That makes {2 * index}." + " Yes." * (index % 3)}
    bad = {"role": "assistant", "content": f"Who knows what {index} makes?"}
    asked = [{"role": "user", "content": question}]
    if stage == "dpo":
        return row | {"messages": asked, "chosen": good, "rejected": bad}
    return row | {"messages": [*asked, good if index % 3 else bad], "good": index % 3 > 0}
