"""`tunesmith train` as a user starts it: a launcher, and the processes it starts, each an interpreter of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.teams import Command
from tests.faults.verdict import Unexpected

_POLL_S = 0.05
_MARK = "TUNESMITH_FAULT_CASE"


@dataclass(frozen=True, slots=True)
class Launched:
    """A command that goes on, with what it has started, known by an environment variable that all inherit."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    mark: str

    def everything(self) -> dict[int, dict[str, str]]:
        """Every process of it that lives, with its environment."""
        found = {}
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                words = file.read_bytes().decode(errors="replace").split("\0")
                environment = dict(word.split("=", 1) for word in words if "=" in word)
                if environment.get(_MARK) == self.mark:
                    found[int(file.parent.name)] = environment
        return found

    def ranks(self) -> dict[int, int]:
        """The process of each rank."""
        return {int(known["RANK"]): pid for pid, known in self.everything().items() if "RANK" in known}

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises TimeoutError."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the command did not end within {timeout_s:.0f} s:\n{self.said()}") from None

    def wait_for_lines(self, count: int, timeout_s: float = 120.0) -> None:
        """Until metrics.jsonl has so many. Raises Unexpected where the command ends before, TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while _num_lines(self.folder / "metrics.jsonl") < count:
            if self.process.poll() is not None:
                raise Unexpected(f"the command ended with {self.process.returncode}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} lines of metrics within {timeout_s:.0f} s:\n{self.said()}")
            time.sleep(_POLL_S)

    def require_no_orphans(self, timeout_s: float = 30.0) -> None:
        """Raises Unexpected where something it started still lives after that time."""
        deadline = time.monotonic() + timeout_s
        while living := self.everything():
            if time.monotonic() > deadline:
                raise Unexpected(f"processes {sorted(living)} outlive their command:\n{self.said()}")
            time.sleep(_POLL_S)

    def said(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@contextlib.contextmanager
def launching(command: Command, *more: str, goes_on: bool = False, prefix: tuple[str, ...] = ()) -> Iterator[Launched]:
    """The command with `more` words, in a session of its own; nothing of it lives any more when this is left.

    prefix: words before it, which say where it is to run
    """
    mark = uuid.uuid4().hex
    log = command.folder.parent / "logs" / f"{command.folder.name}-{mark[:8]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tunesmith", *command.words(goes_on=goes_on), *more],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, _MARK: mark},
        )
    launched = Launched(process, command.folder, log, mark)
    try:
        yield launched
    finally:
        for pid in launched.everything():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _num_lines(file: Path) -> int:
    return file.read_text(encoding="utf-8").count("\n") if file.exists() else 0
