"""Stopping a run: asked to, or at once; only the processes that it named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runs.folders import ELSEWHERE, ended, gone, running, write_run
from tunesmith.errors import RunError
from tunesmith.runs.overview import look_at
from tunesmith.runs.stop import ask_to_stop, describe_end, kill
from tunesmith.train.folder.process import process_here

RUN = """
import signal, subprocess, sys, time
from pathlib import Path
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import reporting
from tunesmith.train.stopping import StopRequest

folder, stop = RunFolder(Path(sys.argv[1])), StopRequest()
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with stop.listening(), reporting(folder, step=3, total_steps=9, exact=True) as report:
    print(worker.pid, flush=True)
    while not stop.requested:
        time.sleep(0.02)
    report.step = 4
    folder.checkpoint(4).mkdir(parents=True)
    worker.kill()
    raise KeyboardInterrupt
"""


@contextmanager
def training_in(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that trains in `folder`, and the number of one that it started."""
    folder.mkdir()
    command = [sys.executable, "-c", RUN, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def test_a_run_that_is_asked_to_stop_saves_and_says_where_it_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with training_in(folder):
        stopping = ask_to_stop(folder)
        stopping.wait()
        assert look_at(folder).state == "stopped"
    assert describe_end(stopping).splitlines() == [
        f"{folder}: stopped at step 4/9; the last checkpoint is {folder}/checkpoints/step-4",
        f"  tunesmith train {folder} --resume_from_checkpoint true   goes on from there",
    ]


def test_a_run_that_is_killed_takes_all_that_it_started_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with training_in(folder) as (process, worker):
        started = process_here(worker)
        assert started.is_alive
        stopping = kill(folder)
        stopping.wait()
        assert not started.is_alive
        assert process.wait() == -9
    assert look_at(folder).state == "killed"
    assert describe_end(stopping) == f"{folder}: killed at step 3/9; there is no checkpoint to go on from"


@pytest.mark.parametrize("end", [ask_to_stop, kill])
@pytest.mark.parametrize("status", [ended("finished"), running(gone()), None])
def test_a_run_that_has_ended_is_left_alone(tmp_path: Path, end, status) -> None:
    stopping = end(write_run(tmp_path / "run", status))
    stopping.wait()
    assert stopping.processes == ()
    assert "run: was not running: " in describe_end(stopping)


@pytest.mark.parametrize("end", [ask_to_stop, kill])
def test_a_run_on_another_host_is_to_be_stopped_there(tmp_path: Path, end) -> None:
    folder = write_run(tmp_path / "run", running(ELSEWHERE))
    with pytest.raises(
        RunError, match=rf"trains on gpu-7, process 4321; stop it there: ssh gpu-7 tunesmith .* {folder}"
    ):
        end(folder)
