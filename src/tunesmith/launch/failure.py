"""How a process ended, which of several ends was the cause of the others, and what the user is told.

A process writes what went wrong into a pipe of the launcher's (`tell_launcher`), so that one message is printed, not
one from each process. Those that only lost their connection to another are never the cause, if there is any other.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith import env
from tunesmith.errors import RunError

DONE, USAGE, INTERRUPTED, AGAIN = 0, 2, 130, 75
"""Exit statuses; AGAIN asks that all processes start again and go on from the last checkpoint."""
_MESSAGE_LETTERS = 8000
"""What certainly fits into a pipe that nobody reads yet, in any alphabet."""
_PURPOSES = {
    "SIGKILL": "often: the host ran out of memory",
    "SIGSEGV": "a fault in compiled code",
    "SIGBUS": "often: shared memory ran out; a container needs more of /dev/shm",
    "SIGABRT": "compiled code gave up",
}


class ProcessFailed(RunError):  # noqa: N818  what happened, in the tense of the message
    """One of the processes failed; `exit_status` is its own."""

    def __init__(self, message: str, *, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a process that was not to end so.

    status:  its exit status, or minus the number of the signal that killed it
    at:      seconds since 1970, by its host's clock
    message: its own words, empty if it had no time for them
    lost:    whether it failed because another one was gone
    log:     the file of what it printed, empty for the one that prints to the terminal
    tail:    the last lines of that file
    """

    rank: int
    host: str
    status: int
    at: float
    message: str = ""
    lost: bool = False
    log: str = ""
    tail: str = ""

    @property
    def is_by_fate(self) -> bool:
        """Killed, or left alone: nothing says that it would happen again."""
        return self.status < 0 or self.lost

    @property
    def exit_status(self) -> int:
        """The launcher's own, as the command line's contract has it."""
        return self.status if self.status in {USAGE, INTERRUPTED} else 1


def find_cause(failures: Sequence[Failure]) -> Failure:
    """The one that brought the others down: the first that was not merely left alone, or stopped as it was asked to."""
    return min(failures, key=lambda failure: (failure.lost, failure.status == INTERRUPTED, failure.at))


def describe(failure: Failure) -> str:
    """What happened, in which process, and where there is more to read."""
    where = f"process {failure.rank} on {failure.host}"
    if failure.message:
        place = "" if failure.rank == 0 else f"\n(in {where}{f'; it printed to {failure.log}' if failure.tail else ''})"
        return f"{failure.message.removeprefix('error: ')}{place}"
    return f"{where} {_describe_end(failure.status)}{_describe_tail(failure)}"


def _describe_end(status: int) -> str:
    if status >= 0:
        return f"ended with status {status} and said nothing"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"was killed by {name}" + (f" ({_PURPOSES[name]})" if name in _PURPOSES else "")


def _describe_tail(failure: Failure) -> str:
    lines = "".join(f"\n  {line}" for line in failure.tail.splitlines())
    return f"; it printed to {failure.log}, at last:{lines}" if lines else ""


def tell_launcher(message: str, *, status: int, lost: bool) -> bool:
    """In a process that fails: tell the launcher. False where there is none; then the message is to be printed."""
    channel = env.failure_channel()
    if channel is None or env.launcher() != os.getppid():  # a process that only inherited the variables
        return False
    report = {"message": message[:_MESSAGE_LETTERS], "status": status, "lost": lost, "at": time.time()}
    try:
        os.write(channel, json.dumps(report).encode() + b"\n")
    except OSError:
        return False  # the launcher is gone
    return True
