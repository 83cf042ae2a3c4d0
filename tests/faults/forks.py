"""Processes forked from this one, which has loaded everything: a run that is hurt costs its steps, not its imports.

Whoever forks must never have trained itself, nor have other threads. Knows nothing of runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_POLL_S = 0.004
_TELLING_S = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Fork:
    """A process of its own session; `log` has what it printed."""

    pid: int
    log: Path
    status: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        """Its exit status, less than zero for the signal that killed it; None while it lives.

        What it started and left behind ends with it. Only while nobody has taken its status is its number its own.
        """
        if self.status is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self._reap()
        return self.status

    def wait(self, timeout_s: float) -> int:
        """Its exit status. Raises TimeoutError, after killing it with all it started, where it does not end in time."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                self._tell_where_it_is()
                self.end()
                raise TimeoutError(f"process {self.pid} did not end within {timeout_s:.0f} s:\n{self.said()}")
            time.sleep(_POLL_S)
        assert self.status is not None
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the process a signal, not what it started."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it and all that it started."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def said(self, characters: int = 4000) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def _tell_where_it_is(self) -> None:
        """Into its log: what each of its threads is doing."""
        self.kill(signal.SIGUSR1)
        time.sleep(_TELLING_S)

    def _reap(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it had no time to begin a session
            os.killpg(self.pid, signal.SIGKILL)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork(work: Callable[[], int | None], *, log: Path, environment: Mapping[str, str] | None = None) -> Fork:
    """Do `work` in a new process, whose exit status is what `work` returns (None: 0; 1 where it raises)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    sys.stdout.flush()  # or both processes would print what still waits here
    pid = os.fork()
    if pid:
        return Fork(pid, log)
    status = 1
    try:
        status = _live(work, log, environment or {})
    finally:
        os._exit(status)  # nothing may go on in its parent's code


def _live(work: Callable[[], int | None], log: Path, environment: Mapping[str, str]) -> int:
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would wait for it without its parent
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.update(environment)
    faulthandler.register(signal.SIGUSR1, file=2)
    try:
        return work() or 0
    except Exception:  # noqa: BLE001  all there is to say of it is for its log
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
