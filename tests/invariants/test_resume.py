"""A run that was killed and resumed equals the run never killed: weights bit for bit, and every metric."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.train.runs import assert_same_run, run, run_settings, write_rows

STEPS = 9  # 10 rows in batches of 2 by 2: three steps an epoch, the last with one micro-batch


def prepare(kind, tuning, tmp_path, request, **changes):
    """Settings of the run to compare with, which is trained here to its end."""
    model = request.getfixturevalue(f"{kind}_folder")
    rows = write_rows(tmp_path, images=kind == "qwen2_5_vl")
    settings = run_settings(model, rows, tmp_path / "whole", finetuning_type=tuning, **changes)
    assert run(settings).steps == STEPS
    return settings


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_every_checkpoint_continues_exactly(kind, tuning, tmp_path, request):
    """Step 2 and 4 lie in the middle of an epoch, before its short last step."""
    settings = prepare(kind, tuning, tmp_path, request, val_size=0.0, save_steps=2)
    for step in (2, 4):
        resumed = tmp_path / f"from-{step}"
        _copy_until(tmp_path / "whole", resumed, step)
        torch.manual_seed(step)  # whatever state the process is in must not matter
        run(settings, output_dir=str(resumed), resume_from_checkpoint=True)
        assert_same_run(tmp_path / "whole", resumed)


def _copy_until(whole: Path, resumed: Path, step: int) -> None:
    """What would be there had the run been killed some time after `step`, in the middle of a line and of a save."""
    shutil.copytree(whole, resumed)
    for checkpoint in (resumed / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    for final in [*resumed.glob("*.safetensors"), resumed / "training_loss.png"]:
        final.unlink()
    (resumed / "checkpoints" / f".writing-step-{step + 2}").mkdir()
    with (resumed / "metrics.jsonl").open("a", encoding="utf-8") as lines:
        lines.write('{"step": 99, "lo')


def start(settings: dict, folder: Path) -> subprocess.Popen:
    """The run as a user starts it, in a process of its own."""
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**settings, "output_dir": str(folder)}), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "tunesmith", "train", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def wait_for(condition, process, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the run did not get there"
        time.sleep(0.0005)


def lines_of(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text(encoding="utf-8").count("\n") if metrics.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tuning", "during_save"),
    [("qwen2", "lora", False), ("qwen2", "full", True), ("qwen2_5_vl", "lora", True), ("qwen2_5_vl", "full", False)],
)
def test_killed_anywhere_and_resumed(kind, tuning, during_save, tmp_path, request):
    settings = prepare(kind, tuning, tmp_path, request, logging_steps=1, save_steps=1)
    killed = tmp_path / "killed"
    process = start(settings, killed)
    step = random.Random(f"{kind} {tuning}").randint(2, STEPS - 3)
    if during_save:
        wait_for((killed / "checkpoints" / f".writing-step-{step}").exists, process)
    else:
        wait_for(lambda: lines_of(killed) >= step, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    if during_save:
        assert (killed / "checkpoints" / f".writing-step-{step}").exists(), "killed too late: in no save"
        assert not (killed / "checkpoints" / f"step-{step}").exists()
    assert not list(killed.glob("*.safetensors"))
    run(settings, output_dir=str(killed), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", killed)
    assert not list((killed / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_runs_save_and_exit_130_and_go_on_exactly(number, tmp_path, request):
    settings = prepare("qwen2", "lora", tmp_path, request, logging_steps=1, save_steps=100)
    stopped = tmp_path / "stopped"
    process = start(settings, stopped)
    wait_for(lambda: lines_of(stopped) >= 2, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "saved in" in errors
    run(settings, output_dir=str(stopped), resume_from_checkpoint=True)
    assert_same_run(tmp_path / "whole", stopped)
