"""Processes of this host: started with a name and a place to print to, watched, ended with all that they started.

The run's first prints where the launcher prints, the others into files. Knows nothing of why they run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.launch.failure import Failure

FAILURE_CHANNEL = "TUNESMITH_FAILURE_CHANNEL"
_TAIL_BYTES = 4000
_TAIL_LINES = 8


@dataclass(slots=True)
class Child:
    """A process that was started here.

    channel: the end of the pipe that its report can be read from
    ended_at: when its end was seen, seconds since 1970
    """

    rank: int
    process: subprocess.Popen[bytes]
    channel: int
    log: Path | None
    status: int | None = None
    ended_at: float = 0.0
    report: dict[str, object] = field(default_factory=dict)

    def look(self) -> bool:
        """Whether it has ended; what it started and left is ended then too."""
        if self.status is None and _has_ended(self.process.pid):
            _signal_group(self.process.pid, signal.SIGKILL)  # before its number is given to another process
            self.status = self.process.wait()
            self.ended_at = time.time()
            self.report = _read_report(self.channel)
            os.close(self.channel)
        return self.status is not None

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to it alone: what it started follows it."""
        if self.status is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it, and what it started, at once."""
        if not self.look():
            _signal_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.look()

    def failure(self, host: str) -> Failure | None:
        """How it failed; None if it runs, is done, or stopped because it was asked to."""
        if self.status is None or self.status == 0:
            return None
        report = self.report
        return Failure(
            rank=self.rank,
            host=host,
            status=self.status,
            at=float(str(report.get("at", self.ended_at))),
            message=str(report.get("message", "")),
            lost=bool(report.get("lost", False)),
            log=str(self.log or ""),
            tail="" if self.log is None else _last_lines(self.log),
        )


def start_child(command: Sequence[str], variables: Mapping[str, str], *, rank: int, log: Path | None) -> Child:
    """Start `command` with `variables` on top of this process's own; it prints to `log`, or where this one prints.

    In a session of its own: Ctrl-C reaches it only through the launcher, once.
    """
    ours, theirs = os.pipe()
    try:
        with contextlib.ExitStack() as stack:
            printed = None if log is None else stack.enter_context(log.open("ab"))
            process = subprocess.Popen(
                command,
                env={**os.environ, **variables, FAILURE_CHANNEL: str(theirs)},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=None if printed is None else subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
            )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.set_blocking(ours, False)
    return Child(rank, process, ours, log)


def _has_ended(pid: int) -> bool:
    """Without taking its status: the number stays its own until somebody does."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _read_report(channel: int) -> dict[str, object]:
    """The first line of the pipe, nothing where the process wrote none or was killed while writing."""
    try:
        line = os.read(channel, 1 << 16).partition(b"\n")[0]
        report = json.loads(line)
    except (BlockingIOError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _last_lines(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-_TAIL_LINES:])
