"""Runs that end before their time: killed in a process of their own, or cut short to what a kill would have left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml


def copy_until(whole: Path, resumed: Path, step: int) -> None:
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


def start(settings: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    """The run as a user starts it, in a process of its own."""
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**settings, "output_dir": str(folder)}), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "tunesmith", "train", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the run did not get there"
        time.sleep(0.0005)


def lines_of(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text(encoding="utf-8").count("\n") if metrics.exists() else 0
