"""What a failure says, and its exit status."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from tunesmith.cli.failure import describe_failure, exit_status, report_failure
from tunesmith.errors import DataError, MissingExtraError, RunError, UsageError


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UsageError("no such key"), 2, "error: no such key"),
        (DataError("rows.jsonl, row 3: no answer"), 1, "error: rows.jsonl, row 3: no answer"),
        (RunError("the folder holds a run"), 1, "error: the folder holds a run"),
        (MissingExtraError("pip install it"), 1, "error: pip install it"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "error: out of memory (no details); lower per_device_train_batch_size"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            1,
            "error: out of memory (CUDA out of memory. Tried to allocate 2 GiB); lower per_device_train_batch_size",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "error: out of memory ([enforce fail",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a/weights"),
            1,
            "error: the disk is full while writing runs/a/weights; free some space, or lower save_total_limit",
        ),
        (ZeroDivisionError("division by zero"), 1, "error: ZeroDivisionError: division by zero\nThis is not a message"),
    ],
)
def test_every_failure_has_a_message_and_a_status(error: BaseException, status: int, message: str) -> None:
    assert describe_failure(error).startswith(message)
    assert exit_status(error) == status


def test_a_process_that_lost_another_says_so() -> None:
    error = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:20915. GLHF!")
    message = "error: another process of this run is gone ([gloo/transport/tcp/pair.cc:561] Connection closed by peer"
    assert describe_failure(error).startswith(message)


def test_the_launcher_tells_what_a_process_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv("TUNESMITH_FAILURE_CHANNEL", str(writing))
    monkeypatch.setenv("TUNESMITH_LAUNCHER", str(os.getppid()))
    assert report_failure(UsageError("no such key")) == 2
    report = json.loads(os.read(reading, 1000))
    assert (report["message"], report["status"], report["lost"]) == ("error: no such key", 2, False)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "1")  # this one prints to a file of its own
    report_failure(UsageError("no such key"))
    assert capfd.readouterr().err == "error: no such key\n"


def test_the_way_to_a_traceback_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)
    assert report_failure(ZeroDivisionError("division by zero")) == 1
    assert "TUNESMITH_DEBUG=1" in capsys.readouterr().err
