"""Whole runs by one, two and four processes take the same steps: rows, losses, evaluations, weights, reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.runs import final_weights, run, run_settings, write_rows
from tests.train.together import free_ports, in_processes, meet_at
from tunesmith.errors import RunError, TunesmithError

NUMBERS = {"loss", "eval_loss", "grad_norm", "accuracy", "supervised_tokens", "learning_rate", "epoch"}


def write_mixture(folder: Path) -> Path:
    """Eleven rows, every other one with a picture: steps end unevenly, and some process has no picture."""
    text = json.loads(write_rows(folder, count=6).read_text(encoding="utf-8"))
    pictures = json.loads(write_rows(folder, count=5, images=True, name="seen.json").read_text(encoding="utf-8"))
    mixed = [row for pair in zip(text, pictures, strict=False) for row in pair] + text[5:]
    file = folder / "mixed.json"
    file.write_text(json.dumps(mixed), encoding="utf-8")
    return file


def train_all(runs: list[dict[str, Any]], ports: list[int]) -> list[str | None]:
    """In one process of several: each run, and how it failed."""
    said: list[str | None] = []
    for settings, port in zip(runs, ports, strict=True):
        meet_at(port)
        try:
            run(settings)
            said.append(None)
        except TunesmithError as error:
            said.append(f"{type(error).__name__}: {error}")
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory, qwen2_folder, qwen2_5_vl_folder):
    """Folders of each run by name and number of processes, and what the last of several processes said."""
    folder = tmp_path_factory.mktemp("ddp")
    mixture = write_mixture(folder)
    text = write_rows(folder, count=10, name="text.json")
    shared = {"logging_steps": 1, "val_size": 1, "per_device_eval_batch_size": 1, "eval_strategy": "epoch"}
    ways: dict[str, dict[str, Any]] = {
        "tower": {"model": qwen2_5_vl_folder, "rows": mixture, "finetuning_type": "full", "freeze_vision_tower": False},
        "dropout": {"model": qwen2_folder, "rows": text, "finetuning_type": "lora", "group_by_length": True},
    }
    said = {}
    for num_processes in (1, 2, 4):
        given = [
            run_settings(
                way["model"],
                way["rows"],
                folder / f"{name}-{num_processes}",
                gradient_accumulation_steps=4 // num_processes,
                **shared,
                **{key: value for key, value in way.items() if key not in {"model", "rows"}},
            )
            for name, way in ways.items()
        ]
        if num_processes == 1:
            for settings in given:
                run(settings)
            continue
        elsewhere = {**given[0], "output_dir": str(folder / "tower-1"), "overwrite_output_dir": False}
        given.append(elsewhere)
        said[num_processes] = in_processes(train_all, given, free_ports(len(given)), num_processes=num_processes)
    return folder, said


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 4])
@pytest.mark.parametrize("name", ["tower", "dropout"])
def test_the_number_of_processes_changes_no_number(runs, name, num_processes):
    folder, _ = runs
    alone, several = folder / f"{name}-1", folder / f"{name}-{num_processes}"
    assert len(lines_of(alone)) == len(lines_of(several))
    for one, other in zip(lines_of(alone), lines_of(several), strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() & NUMBERS:
            assert one[key] == (None if other[key] is None else pytest.approx(other[key], rel=1e-5)), key
    for key, weight in final_weights(alone).items():
        torch.testing.assert_close(final_weights(several)[key], weight, rtol=0, atol=5e-6)
    report = "data_report.json"
    assert (alone / report).read_text(encoding="utf-8") == (several / report).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 4])
def test_what_the_first_process_refuses_all_do(runs, num_processes):
    _, said = runs
    for process in said[num_processes]:
        assert process[:2] == [None, None]
        assert process[2].startswith(RunError.__name__)
        assert "overwrite_output_dir" in process[2]
