"""Writing while something else goes on: one thing at a time, and nothing fails in silence."""

from __future__ import annotations

import threading

from tunesmith.errors import RunError
from tunesmith.train.checkpoint.background import BackgroundWriter


def test_the_caller_goes_on_and_waits_when_it_wants_to():
    writer, may_end, written = BackgroundWriter(), threading.Event(), []

    def job():
        assert may_end.wait(10)
        written.append(1)

    writer.start(job, name="step-1")
    assert written == []
    may_end.set()
    assert 0 <= writer.settle() < 10
    assert written == [1]
    assert writer.problem is None
    assert writer.settle() < 0.1


def test_what_it_failed_with_is_kept():
    writer = BackgroundWriter()

    def fail(error):
        raise error

    full = RunError("step-1 cannot be written: no space left")
    writer.start(lambda: fail(full), name="step-1")
    writer.settle()
    assert writer.problem is full
    other = BackgroundWriter()
    other.start(lambda: fail(ZeroDivisionError("division by zero")), name="step-2")
    other.settle()
    assert str(other.problem) == "step-2 cannot be written: ZeroDivisionError: division by zero"
