"""What one process does for all."""

from __future__ import annotations

import pytest

from tunesmith.errors import RunError, TunesmithError
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.parallel.together import on_first


class SecondOfTwo(SingleProcess):
    """A process that learns what the first one told."""

    rank = 1
    num_processes = 2

    def __init__(self, told: TunesmithError | None) -> None:
        self.told = told

    def gather(self, value):
        return [self.told, value]


def fail() -> None:
    raise ValueError("a disk that is no disk")


def test_the_first_keeps_its_own_error_and_its_result():
    assert on_first(SingleProcess(), lambda: 7) == 7
    with pytest.raises(ValueError, match="no disk"):
        on_first(SingleProcess(), fail)


def test_the_others_do_nothing_and_fail_with_the_first():
    assert on_first(SecondOfTwo(None), fail) is None
    with pytest.raises(RunError, match="full"):
        on_first(SecondOfTwo(RunError("the disk is full")), fail)
