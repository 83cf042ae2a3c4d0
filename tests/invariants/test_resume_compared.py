"""A run that compares its model with another, killed and resumed, equals the run never killed, bit for bit."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.invariants.killed_runs import copy_until, lines_of, start, wait_for
from tests.train.preference_runs import preference_settings, write_preferences
from tests.train.runs import assert_same_run, run
from tunesmith import env

STEPS = 9


def whole_run(stage: str, tuning: str, tmp_path: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a finished run to compare with."""
    write_preferences(tmp_path, stage=stage)
    settings = preference_settings(model, tmp_path, stage=stage, finetuning_type=tuning, **changes)
    assert run(settings).steps == STEPS
    return settings


@pytest.mark.parametrize("precompute", [True, False], ids=["stored", "live"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_a_checkpoint_continues_exactly(stage, tuning, precompute, tmp_path, qwen2_folder):
    """The reference is the model as the training began, not as the checkpoint has it."""
    settings = whole_run(stage, tuning, tmp_path, qwen2_folder, precompute_ref=precompute)
    resumed = tmp_path / "resumed"
    copy_until(tmp_path / "whole", resumed, 4)
    torch.manual_seed(4)
    run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", resumed)


def test_an_adapter_that_went_on_is_compared_with_itself_as_it_was(tmp_path, qwen2_folder):
    first = whole_run("dpo", "lora", tmp_path, qwen2_folder)
    shutil.move(tmp_path / "whole", tmp_path / "adapter")
    settings = {**first, "adapter_name_or_path": str(tmp_path / "adapter"), "precompute_ref": False, "logging_steps": 1}
    run(settings)
    resumed = tmp_path / "resumed"
    copy_until(tmp_path / "whole", resumed, 4)
    run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", resumed)


def test_checkpoints_hold_no_reference(tmp_path, qwen2_folder):
    whole_run("dpo", "full", tmp_path, qwen2_folder, precompute_ref=False)
    (tmp_path / "sft").mkdir()
    for file in (tmp_path / "whole" / "checkpoints" / "step-4").rglob("*.safetensors"):
        with safe_open(file, "pt") as content:
            names = list(content.keys())
        assert names
        assert not [name for name in names if "reference" in name or "copy" in name]
    state = torch.load(tmp_path / "whole" / "checkpoints" / "step-4" / "trainer" / "optimizer.pt", weights_only=True)
    assert set(state) == {"pace", "optimizer", "scheduler", "scaler", "names"}


def test_values_that_were_cleared_meanwhile_are_computed_again(tmp_path, qwen2_folder, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    settings = whole_run("dpo", "full", tmp_path, qwen2_folder)
    resumed = tmp_path / "resumed"
    copy_until(tmp_path / "whole", resumed, 4)
    shutil.rmtree(env.cache_folder() / "references")
    run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", resumed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "tuning", "precompute"),
    [("dpo", "lora", True), ("dpo", "full", False), ("kto", "lora", False), ("kto", "full", True)],
)
def test_killed_and_resumed(stage, tuning, precompute, tmp_path, qwen2_folder):
    changes = {"precompute_ref": precompute, "logging_steps": 1, "save_steps": 1}
    settings = whole_run(stage, tuning, tmp_path, qwen2_folder, **changes)
    killed = tmp_path / "killed"
    process = start(settings, killed)
    wait_for(lambda: lines_of(killed) >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(settings, output_dir=str(killed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", killed)
