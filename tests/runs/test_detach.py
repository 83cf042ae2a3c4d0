"""`tunesmith train --detach`, as its user types it: in a terminal that is closed then."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.runs import run_settings, write_rows
from tunesmith.runs.overview import look_at
from tunesmith.runs.stop import ask_to_stop, kill
from tunesmith.train.folder.process import process_here


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "tunesmith", *map(str, words)]


def tunesmith(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=False)


@pytest.fixture
def settings(tmp_path: Path, qwen2_folder: Path) -> Path:
    """The settings of a run that takes minutes, into `out`."""
    rows = write_rows(tmp_path, count=40)
    keys = run_settings(qwen2_folder, rows, tmp_path / "out", num_train_epochs=400, save_steps=1000)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(keys))
    return file


def type_and_close_the_terminal(*words: object) -> str:
    """What a terminal showed until the command was done; then its window is closed."""
    leader, terminal = pty.openpty()
    shown = ""
    shell = subprocess.Popen(["sh"], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    os.write(leader, (" ".join(command(*words)) + "; echo status $?\n").encode())
    while "\nstatus " not in shown.replace("\r", ""):
        shown += os.read(leader, 65536).decode(errors="replace")
    os.close(leader)  # the kernel hangs up all that belongs to the terminal
    shell.wait()
    return shown.replace("\r", "")


@pytest.mark.slow
def test_a_run_outlives_its_terminal_and_can_be_stopped_and_gone_on_with(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = type_and_close_the_terminal("train", settings, "--detach")
    assert f"tunesmith runs stop {out}\nstatus 0" in shown
    run = look_at(out)
    assert run.pid is not None
    process = process_here(run.pid)
    assert os.getsid(run.pid) == run.pid
    first = run.step or 0
    deadline = time.monotonic() + 60
    while (look_at(out).step or 0) <= first and time.monotonic() < deadline:
        time.sleep(0.2)
    assert process.is_alive
    assert look_at(out).state == "running"

    refused = tunesmith("train", out, "--resume_from_checkpoint", "true", "--detach")
    assert refused.returncode == 1
    assert f"another process ({run.pid} on " in refused.stderr

    ask_to_stop(out).wait()
    stopped = look_at(out)
    assert stopped.state == "stopped"
    assert stopped.checkpoint == out / "checkpoints" / f"step-{stopped.step}"
    said = (out / "log.txt").read_text()
    assert "SIGTERM: finishing the step and saving" in said

    again = tunesmith("train", out, "--resume_from_checkpoint", "true", "--detach")
    assert again.returncode == 0, again.stderr
    assert (out / "log.txt").read_text().startswith(said)
    kill(out).wait()
    assert look_at(out).state == "killed"


def test_a_run_that_cannot_begin_tells_why_with_its_own_exit_status(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = tunesmith("train", settings, "--detach", f"model_name_or_path={tmp_path / 'empty'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "empty" in done.stderr
    run = look_at(tmp_path / "out")
    assert (run.state, run.exit_status, run.reason) == (
        "failed",
        1,
        "it ended before it began to train; log.txt says why",
    )
    assert (tmp_path / "out" / "log.txt").read_text() == done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lerning_rate=1"], "unknown key lerning_rate; did you mean learning_rate?"),
        (["do_train=false", "do_eval=true", "val_size=0.1"], "--detach is for training, and do_train is false"),
        (["output_dir=run.json"], "is a file; choose a folder"),
    ],
)
def test_wrong_use_is_found_before_anything_is_started(
    settings: Path, tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tunesmith("train", settings, "--detach", *words)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
