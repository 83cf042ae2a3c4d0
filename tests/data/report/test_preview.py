"""The first rows of a run's data, of every stage, as its settings have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.config.data import DataSettings
from tunesmith.config.model import ModelSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.preview import PreviewedRow, is_left_out, preview_rows

ASKED = {"instruction": "What?"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "pt": [{"text": "once " * 100}, {"text": "upon"}],
    "sft": [{**ASKED, "output": "this"}, {**ASKED, "output": "that"}],
    "dpo": [{**ASKED, "chosen": "this", "rejected": "that"}, {**ASKED, "chosen": "1", "rejected": "2"}],
    "rm": [{**ASKED, "chosen": "this", "rejected": "that"}],
    "kto": [
        {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}], "label": label}
        for label in (True, False)
    ],
    "grpo": [{**ASKED, "output": "42"}],
}


def settings_for(stage: str, folder: Path, model: Path, **data: Any) -> Settings:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS[stage])), encoding="utf-8")
    return Settings(
        model=ModelSettings(model_name_or_path=str(model)),
        data=DataSettings(dataset=(str(file),), **data),
        training=TrainingSettings(stage=stage),
    )


@pytest.mark.parametrize("stage", ROWS)
def test_every_stage_shows_its_rows(stage: str, tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    found = list(preview_rows(settings_for(stage, tmp_path, model_folder("qwen2")), limit=5))
    assert len(found) == len(ROWS[stage])
    for row in found:
        assert isinstance(row, PreviewedRow)
        assert len(row.trace.answers) == (2 if stage in ("dpo", "rm", "kto") else 0)
        assert (row.trace.encoded.num_supervised > 0) == (stage != "grpo")


def test_a_row_left_out_for_its_length_is_told_apart(tmp_path: Path, model_folder: Callable[[str], Path]) -> None:
    settings = settings_for("pt", tmp_path, model_folder("qwen2"), cutoff_len=50, overlong="drop")
    long, short = preview_rows(settings, limit=5)
    assert isinstance(long, RowProblem) and is_left_out(long)
    assert isinstance(short, PreviewedRow)
