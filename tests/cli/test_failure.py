"""What a failure says, and its exit status."""

from __future__ import annotations

import errno

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


def test_the_way_to_a_traceback_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_DEBUG", raising=False)
    assert report_failure(ZeroDivisionError("division by zero")) == 1
    assert "TUNESMITH_DEBUG=1" in capsys.readouterr().err
