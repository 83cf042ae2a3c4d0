"""Work done by several forked processes at once, each with an answer."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.faults.forks import Fork, fork

T = TypeVar("T")
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """`do` answers in a process of its own, in `folder`, which is created."""

    do: Callable[[], T]
    folder: Path
    limit_s: float

    def start(self) -> Fork:
        """The process that does it."""
        self.folder.mkdir(parents=True)
        return fork(self._write_answer, log=self.folder / "case.log")

    def answer(self) -> T:
        """What it wrote. Raises FileNotFoundError where its process did not come to that."""
        return pickle.loads((self.folder / "answer").read_bytes())

    def _write_answer(self) -> None:
        (self.folder / "answer").write_bytes(pickle.dumps(self.do()))


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """An answer, or (None) how its process ended instead."""

    number: int
    answer: T | None
    end: str
    seconds: float


def done_together(work: Sequence[Work[T]], *, at_once: int) -> Iterator[Done[T]]:
    """Do all of `work`, at most `at_once` of it at a time; yields in the order of ending."""
    waiting = list(enumerate(work))[::-1]
    running: dict[int, tuple[Fork, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, next_one = waiting.pop()
                running[number] = (next_one.start(), time.monotonic())
            for number, (process, started) in list(running.items()):
                seconds = time.monotonic() - started
                if process.poll() is not None or seconds > work[number].limit_s:
                    process.end()
                    del running[number]
                    yield Done(number, _answer(work[number]), f"status {process.status}\n{process.said()}", seconds)
            time.sleep(_POLL_S)
    finally:
        for process, _ in running.values():
            process.end()


def _answer(work: Work[T]) -> T | None:
    try:
        return work.answer()
    except (FileNotFoundError, EOFError):
        return None
