"""`tunesmith train` in two processes, as users start it: from one command, and as tasks of Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.train.runs import final_weights, run_settings, write_rows

TRAIN = (sys.executable, "-m", "tunesmith", "train")
pytestmark = pytest.mark.slow


def _write_run(model: Path, folder: Path, name: str, **changes: Any) -> Path:
    rows = folder / "rows.json"
    settings = run_settings(model, rows if rows.exists() else write_rows(folder, count=8), folder / name, **changes)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**settings, "gradient_accumulation_steps": 1}))
    return file


def _processes_of(launcher: int) -> dict[int, int]:
    """Rank → process number of what the launcher started."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            variables = dict(line.partition("=")[::2] for line in (folder / "environ").read_text().split("\0"))
        except (OSError, UnicodeDecodeError):
            continue
        if variables.get("TUNESMITH_LAUNCHER") == str(launcher):
            found[int(variables["RANK"])] = int(folder.name)
    return found


def _wait_for(path: Path, launcher: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert launcher.poll() is None, launcher.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_whose_process_was_killed_ends_as_the_run_that_was_not_hurt(qwen2_folder: Path, tmp_path: Path) -> None:
    whole = _write_run(qwen2_folder, tmp_path, "whole", num_train_epochs=25)
    subprocess.run((*TRAIN, whole, "nproc=2"), check=True, capture_output=True)
    hurt = _write_run(qwen2_folder, tmp_path, "hurt", num_train_epochs=25, max_restarts=1)
    launcher = subprocess.Popen((*TRAIN, hurt, "--nproc", "2"), stderr=subprocess.PIPE, text=True)
    _wait_for(tmp_path / "hurt" / "checkpoints" / "step-4", launcher)
    os.kill(_processes_of(launcher.pid)[1], signal.SIGKILL)
    said = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 0, said
    assert "process 1 on " in said
    assert "was killed by SIGKILL" in said
    assert "All processes start again from the last checkpoint (1 of at most 1)" in said
    expected, found = final_weights(tmp_path / "whole"), final_weights(tmp_path / "hurt")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_a_signal_saves_once_and_a_wrong_folder_is_one_message(qwen2_folder: Path, tmp_path: Path) -> None:
    file = _write_run(qwen2_folder, tmp_path, "run", num_train_epochs=300)
    launcher = subprocess.Popen((*TRAIN, file, "nproc=2"), stderr=subprocess.PIPE, text=True)
    _wait_for(tmp_path / "run" / "checkpoints" / "step-2", launcher)
    for number in (launcher.pid, *_processes_of(launcher.pid).values()):  # as Slurm does: all processes of a job
        os.kill(number, signal.SIGTERM)
    said = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 130, said
    assert said.count("SIGTERM: finishing the step and saving") == 1
    assert said.rstrip().endswith("interrupted")
    again = subprocess.run((*TRAIN, file, "nproc=2"), capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count("already holds a run") == 1
    assert "Traceback" not in again.stderr


def test_tasks_of_slurm_train_together(qwen2_folder: Path, tmp_path: Path) -> None:
    file = _write_run(qwen2_folder, tmp_path, "tasks", num_train_epochs=1)
    job = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_STEP_ID": "0"}
    tasks = [
        subprocess.Popen(
            (*TRAIN, file),
            env={**os.environ, **job, "SLURM_JOB_ID": str(os.getpid()), "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = [task.communicate(timeout=120)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert "2 processes by ddp" in said[0]
    assert "steps    2 (2 an epoch) of 4 rows (2 x 2)" in said[0]
    assert said[1] == ""
