"""Run folders as runs write them, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tunesmith.train.folder.process import Process, this_process
from tunesmith.train.folder.status import Status, write_status

BEGAN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ELSEWHERE = Process(host="gpu-7", place="another boot", pid=4321, began="17")


def gone() -> Process:
    """A process of this host that has ended: this one's number, with another beginning."""
    return replace(this_process(), began="1")


def training_line(step: int, loss: float | None = 1.0, **more: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    line = {"step": step, "epoch": step / 10, "loss": loss, "learning_rate": 1e-4, "grad_norm": 1.0}
    return {**line, "tokens_per_s": 100.0, "step_s": 2.0, "data_wait_s": 0.5, "peak_memory_bytes": 10**9, **more}


def evaluation_line(step: int, loss: float) -> dict[str, Any]:
    """A line of an evaluation."""
    return {"step": step, "epoch": step / 10, "eval_loss": loss, "eval_accuracy": 0.5, "eval_s": 0.1}


def write_run(
    folder: Path,
    status: Status | None = None,
    *,
    lines: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    checkpoints: Sequence[int] = (),
) -> Path:
    """A run folder with these files."""
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({"output_dir": str(folder), **(settings or {})}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status is not None:
        write_status(folder / "status.json", status)
    for step in checkpoints:
        (folder / "checkpoints" / f"step-{step}").mkdir(parents=True)
    return folder


def running(process: Process | None = None, **changes: Any) -> Status:
    """The status of a run at step 40 of 100, begun at BEGAN, that gave a sign just now."""
    status = Status("running", process or this_process(), started=BEGAN, updated=datetime.now(UTC))
    return replace(status, step=40, total_steps=100, **changes)


def ended(state: str, **changes: Any) -> Status:
    """A run that came to its end, at step 100 of 100."""
    return replace(running(gone()), **{"state": state, "step": 100, "exit_status": 0, **changes})
