"""Which of several ends was the cause of the others, and its message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tunesmith.launch.failure import AGAIN, INTERRUPTED, Failure, describe, find_cause
from tunesmith.launch.gathering import MOST_ASKED, Record, Verdict, verdict_from_json

KILLED = Failure(rank=3, host="gpu-b", status=-9, at=7.0)
LOST = Failure(rank=0, host="gpu-a", status=1, at=5.0, message="error: another process is gone", lost=True)
FAILED = Failure(rank=1, host="gpu-a", status=1, at=6.0, message="error: the disk is full")
STOPPED = Failure(rank=2, host="gpu-a", status=INTERRUPTED, at=6.5, message="interrupted")


def test_whoever_was_only_left_alone_is_not_the_cause() -> None:
    assert find_cause([LOST, KILLED]) is KILLED
    assert find_cause([LOST, KILLED, FAILED]) is FAILED
    assert find_cause([LOST, replace(LOST, rank=1, at=4.0)]).rank == 1
    assert find_cause([LOST, STOPPED]) is STOPPED
    assert find_cause([STOPPED, replace(FAILED, at=9.0)]).rank == 1  # while it saved


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (KILLED, "process 3 on gpu-b was killed by SIGKILL (often: the host ran out of memory)"),
        (replace(KILLED, status=-10), "process 3 on gpu-b was killed by SIGUSR1"),
        (
            replace(KILLED, status=4, log="l", tail="a\nb"),
            "process 3 on gpu-b ended with status 4 and said nothing; it printed to l, at last:\n  a\n  b",
        ),
        (FAILED, "the disk is full\n(in process 1 on gpu-a)"),
        (replace(FAILED, rank=0), "the disk is full"),
    ],
)
def test_a_failure_in_words(failure: Failure, text: str) -> None:
    assert describe(failure) == text


def test_what_may_begin_again() -> None:
    record = Record()
    assert record.allows(KILLED, restarts=1)
    assert record.allows(LOST, restarts=1)
    assert not record.allows(KILLED, restarts=0)
    assert not any(record.allows(failure, restarts=9) for failure in (FAILED, STOPPED, replace(FAILED, status=2)))
    asked = replace(FAILED, status=AGAIN)
    assert record.allows(asked, restarts=0)
    assert record.after(KILLED) == Record(attempt=1, killed=1)
    assert record.after(None).after(asked) == Record(attempt=2, asked=1)
    assert not Record(asked=MOST_ASKED).allows(asked, restarts=9)


def test_a_verdict_travels() -> None:
    for verdict in (Verdict(KILLED, again=True), Verdict(None, again=True)):
        assert verdict_from_json(verdict.to_json()) == verdict
