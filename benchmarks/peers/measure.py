"""Run a command and measure it from outside: time to its end, time to its first finished step, peak memory.

Knows no tool: how a first step shows is a function that reads what the tool has written so far.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_DISABLED": "true", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, slots=True)
class Measured:
    """total_s: wall time of the process; first_step_s: until its first optimiser step showed, None if it never did.

    steps:      how many optimiser steps showed; last_step_s: when the last of them did
    peak_bytes: the largest resident set of the process or of one of its children
    """

    total_s: float
    first_step_s: float | None
    last_step_s: float | None
    steps: int
    peak_bytes: int

    @property
    def steady_s(self) -> float:
        """Seconds for all steps at the speed of those after the first, which pays for warming up."""
        if self.first_step_s is None or self.last_step_s is None or self.steps < 2:
            raise ValueError("at least two steps are needed for a speed")
        return (self.last_step_s - self.first_step_s) * self.steps / (self.steps - 1)


def measure(
    command: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    count_steps: Callable[[], int],
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Run `command` in `folder`, its output in `log`. Raises RuntimeError with the log's end if it fails."""
    variables = {**os.environ, **_OFFLINE, **(environment or {})}
    started, first_step, last_step, steps = time.perf_counter(), None, None, 0
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            now = time.perf_counter() - started
            if (counted := count_steps()) > steps:
                steps, last_step = counted, now
                first_step = first_step or now
            if pid:
                break
            time.sleep(_POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}:\n{end}")
    return Measured(now, first_step, last_step, steps, usage.ru_maxrss * 1024)


def losses_in(file: Path) -> Callable[[], int]:
    """How many losses of training steps the JSON lines of `file` hold by now."""
    return lambda: file.read_bytes().count(b'"loss":') if file.exists() else 0
