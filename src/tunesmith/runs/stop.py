"""Stopping a run: asked to, it finishes its step and saves; with `now` its processes are killed.

Only processes that the run itself named are touched, each known by its number and by when it was started.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import RunError
from tunesmith.runs.overview import look_at
from tunesmith.runs.state import see
from tunesmith.runs.table import describe_steps
from tunesmith.train.folder.process import Process, descendants, process_here
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import Status, read_status

_BETWEEN_LOOKS_S = 0.1


@dataclass(frozen=True, slots=True)
class Stopping:
    """A run that was told to stop. processes: of this host, whose end is waited for; none if it had ended before."""

    folder: RunFolder
    processes: tuple[Process, ...]

    def wait(self) -> None:
        """Until its processes are gone."""
        while any(process.is_alive for process in self.processes):
            time.sleep(_BETWEEN_LOOKS_S)


def ask_to_stop(path: Path) -> Stopping:
    """Send SIGTERM to the run's launcher or process; a run that has ended is left alone.

    Raises RunError for a run on another host, or one whose process may not be signalled.
    """
    folder = RunFolder(path)
    status = _living(folder)
    if status is None:
        return Stopping(folder, ())
    _send(signal.SIGTERM, status.signalled if status.signalled.is_alive else status.process, folder)
    return Stopping(folder, (status.signalled, status.process))


def kill(path: Path) -> Stopping:
    """SIGKILL to the launcher, the process and all that they started. Raises RunError as `ask_to_stop` does."""
    folder = RunFolder(path)
    status = _living(folder)
    if status is None:
        return Stopping(folder, ())
    named = tuple(dict.fromkeys((status.signalled, status.process)))
    started = [process_here(pid) for process in named if process.is_alive for pid in descendants(process.pid)]
    everything = tuple(dict.fromkeys((*named, *started)))
    for process in everything:
        if process.is_alive:
            _send(signal.SIGKILL, process, folder)
    return Stopping(folder, everything)


def describe_end(stopping: Stopping) -> str:
    """How the run ended, and where it can go on."""
    path = stopping.folder.path
    run = look_at(path)
    before = "" if stopping.processes else "was not running: "
    ended = f"{path}: {before}{run.state} at step {describe_steps(run)}"
    if run.state == "finished":
        return ended
    if run.checkpoint is None:
        return f"{ended}; there is no checkpoint to go on from"
    return (
        f"{ended}; the last checkpoint is {run.checkpoint}\n"
        f"  tunesmith train {path} --resume_from_checkpoint true   goes on from there"
    )


def _living(folder: RunFolder) -> Status | None:
    """The status of a run with processes on this host; None for one that has ended."""
    status = read_status(folder.status)
    seen = see(status)
    if status is None or not (seen.is_live or seen.state == "lost"):
        return None
    if not status.process.is_here:
        host = status.process.host
        silent = f" ({seen.reason})" if seen.state == "lost" else ""
        raise RunError(
            f"{folder.path} trains on {host}, process {status.process.pid}{silent}; stop it there: "
            f"ssh {host} tunesmith runs stop {folder.path.absolute()}"
        )
    return status


def _send(number: signal.Signals, process: Process, folder: RunFolder) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return  # it ended in this moment
    except PermissionError:
        raise RunError(f"{folder.path}: {process} is another user's, and may not be stopped by you") from None
