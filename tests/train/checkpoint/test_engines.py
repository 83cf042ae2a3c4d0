"""A run goes on from any engine's checkpoint in any other engine: proven on the way, and with the same outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.runs import final_weights, run, run_settings, write_rows
from tests.train.together import free_ports, in_processes, meet_at
from tunesmith.config.read import load_settings_from
from tunesmith.train.run import train

STEPS = 6
JOURNEY: list[tuple[str, str | None, dict[str, Any]]] = [
    ("ddp", None, {"parallel": "ddp"}),
    ("fsdp2", "ddp/checkpoints/step-1", {"parallel": "fsdp2", "save_in_background": True}),
    ("fsdp2-again", "fsdp2/checkpoints/step-3", {"parallel": "fsdp2"}),
    ("zero2", "fsdp2/checkpoints/step-2", {"deepspeed": "zero2", "save_in_background": True}),
    ("zero2-again", "zero2/checkpoints/step-4", {"deepspeed": "zero2"}),
    ("zero3", "zero2/checkpoints/step-3", {"deepspeed": "zero3"}),
    ("ddp-again", "zero3/checkpoints/step-4", {"parallel": "ddp", "save_in_background": True}),
]
"""Runs: their names, where each goes on from, and what is set."""


def _travel(settings: dict[str, Any], folder: str, ports: list[int]) -> None:
    """In each of two processes: one run after the other."""
    for (name, start, changes), port in zip(JOURNEY, ports, strict=True):
        meet_at(port)
        resumed = {} if start is None else {"resume_from_checkpoint": f"{folder}/{start}"}
        train(load_settings_from({**settings, **changes, **resumed, "output_dir": f"{folder}/{name}"}, verb="train"))


def resumed(folder: Path) -> dict[str, Any]:
    proof: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["resumed"]
    return proof


def difference(one: Path, other: Path) -> float:
    expected, found = final_weights(one), final_weights(other)
    assert found.keys() == expected.keys()
    return max((found[name] - weight).abs().max().item() for name, weight in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_from_engine_to_engine(tuning, qwen2_folder, tmp_path):
    pytest.importorskip("deepspeed")
    settings = run_settings(
        qwen2_folder,
        write_rows(tmp_path),
        tmp_path / "unused",
        finetuning_type=tuning,
        gradient_accumulation_steps=1,
        weight_decay=0.1,
        val_size=0.0,
        save_steps=1,
        max_steps=STEPS,
    )
    in_processes(_travel, settings, str(tmp_path), free_ports(len(JOURNEY)))
    alone = {**settings, "gradient_accumulation_steps": 2}
    run(alone, output_dir=str(tmp_path / "alone"), resume_from_checkpoint=str(tmp_path / "zero3/checkpoints/step-5"))

    for name in ("fsdp2", "fsdp2-again", "zero2", "zero2-again", "zero3", "ddp-again", "alone"):
        proof = resumed(tmp_path / name)
        parts = {proof[part] for part in ("weights", "optimizer", "position", "next_batch")}
        assert parts == {"matches"}, name
        assert difference(tmp_path / "ddp", tmp_path / name) < 2e-6, name
    assert resumed(tmp_path / "alone")["engines"].startswith(
        "written by 2 processes (deepspeed), goes on with 1 process"
    )
    assert resumed(tmp_path / "zero2-again")["engines"] is None
    for name in ("fsdp2", "zero2"):
        one, other = final_weights(tmp_path / name), final_weights(tmp_path / f"{name}-again")
        assert all(torch.equal(one[key], other[key]) for key in one), name
