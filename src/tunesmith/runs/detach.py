"""`train --detach`: the same command line, in a session of its own that no closed terminal reaches.

What is wrong with the settings or the folder is found here, before anything is started. Then the run is watched until
it holds its folder, or has ended: it may take minutes to read the model, and fail then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.errors import RunError, UsageError
from tunesmith.launch.plan import Here, Start
from tunesmith.runs.tail import GrowingFile
from tunesmith.train.folder.atomic import explained, write_text
from tunesmith.train.folder.lock import refuse_busy
from tunesmith.train.folder.process import process_here
from tunesmith.train.folder.resume import find_checkpoint, goes_on_in, require_place
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import Status, read_status, write_status

DETACH = "--detach"
_BETWEEN_LOOKS_S = 0.1
_DIED_BY_SIGNAL = 128
"""A shell's way to say by its exit status which signal ended a process."""


@dataclass(frozen=True, slots=True)
class _Started:
    """said: its output, of which so many bytes were there before; leads: whether the run's first process is its own
    earlier: the text of the status that a run here left before, to be put back if this one never begins
    at_first: the text of the status as it was when the process had been started; the run has begun once that changes
    """

    process: subprocess.Popen[bytes]
    folder: RunFolder
    said: Path
    said_before: int
    leads: bool
    earlier: str | None
    at_first: str | None


def detach(words: Sequence[str], settings: Settings, plan: Here | Start) -> int:
    """Start `tunesmith train WORDS` apart from this terminal; returns once it trains, with 0, or has ended, with its
    own exit status.

    words: of the command line after `train`; DETACH is left out of them
    plan:  how many processes and hosts train; of several hosts, the first alone answers for the folder
    Raises UsageError or RunError where the run could not even begin.
    """
    folder = _require_detachable(settings, plan)
    appends = False
    if _leads(plan):
        refuse_busy(folder.path)
        checkpoint = find_checkpoint(settings.training, folder)
        require_place(settings.training, folder, checkpoint)
        appends = goes_on_in(folder, checkpoint)
    started = _start([word for word in words if word != DETACH], folder, leads=_leads(plan), appends=appends)
    try:
        return _watch(started)
    except KeyboardInterrupt:
        log.info(f"no longer watched, but it goes on.\n{_what_next(folder)}")
        raise


def _require_detachable(settings: Settings, plan: Here | Start) -> RunFolder:
    if os.name != "posix":
        raise UsageError(f"{DETACH} needs a system with sessions (Linux, macOS); leave it out")
    if not settings.training.do_train:
        raise UsageError(f"{DETACH} is for training, and do_train is false; leave one of them out")
    if isinstance(plan, Here) and plan.num_processes > 1:
        raise UsageError(
            f"{DETACH} is for a command that you start yourself; this one is {plan.reason}, and what started it (srun, "
            "torchrun, mpirun) ends it too; leave it out"
        )
    if settings.training.output_dir is None:
        raise UsageError("output_dir is not set; give the folder that the run is written to")
    return RunFolder(Path(settings.training.output_dir).expanduser())


def _leads(plan: Here | Start) -> bool:
    """Whether the run's first process is known to be on this host."""
    return isinstance(plan, Here) or plan.meeting is None or plan.meeting.host_rank == 0


def _start(words: Sequence[str], folder: RunFolder, *, leads: bool, appends: bool) -> _Started:
    said = folder.log if leads else folder.path / "logs" / f"{socket.gethostname()}.txt"
    with explained(folder.path):
        said.parent.mkdir(parents=True, exist_ok=True)
        output = said.open("ab" if appends else "wb")
        said_before = output.tell()
    earlier = _read_text(folder.status)
    with output, _ignoring_hang_up():
        process = subprocess.Popen(
            [sys.executable, "-m", "tunesmith", "train", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if leads:
        now = datetime.now(UTC)
        write_status(folder.status, Status("starting", process_here(process.pid), started=now, updated=now))
    return _Started(process, folder, said, said_before, leads, earlier, _read_text(folder.status))


@contextlib.contextmanager
def _ignoring_hang_up() -> Iterator[None]:
    """What is ignored stays ignored in a process that is started meanwhile."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _watch(started: _Started) -> int:
    growing = GrowingFile(started.said, started.said_before)
    while True:
        exit_status = started.process.poll()
        status = _own_status(started)
        for line in growing.new_lines():
            log.info(line)
        if exit_status is not None:
            return _tell_end(started, exit_status, begun=status is not None)
        if status is not None and status.state == "running":
            log.info(
                f"it trains on in process {started.process.pid}, with or without this terminal.\n"
                f"{_what_next(started.folder)}"
            )
            return 0
        time.sleep(_BETWEEN_LOOKS_S)


def _own_status(started: _Started) -> Status | None:
    """What the run itself has written; None before it has begun."""
    if _read_text(started.folder.status) == started.at_first:
        return None
    try:
        status = read_status(started.folder.status)
    except RunError:
        return None
    if status is None or status.state == "starting":
        return None
    is_own = status.signalled.pid == started.process.pid and status.signalled.is_here
    return status if is_own or not started.leads else None


def _read_text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else None


def _tell_end(started: _Started, exit_status: int, *, begun: bool) -> int:
    if not begun:
        _take_back(started, exit_status)
    if exit_status < 0:
        name = signal.Signals(-exit_status).name
        log.info(f"error: the run was ended by {name}; {started.said} holds what it said")
        return _DIED_BY_SIGNAL - exit_status
    return exit_status


def _take_back(started: _Started, exit_status: int) -> None:
    """A run that never began leaves the status of the one before it, or says that it failed."""
    file = started.folder.status
    if not started.leads:
        return  # the first host's matter
    if started.earlier is not None:
        write_text(file, started.earlier)
        return
    now = datetime.now(UTC)
    reason = f"it ended before it began to train; {started.said.name} says why"
    process = process_here(started.process.pid)
    write_status(file, Status("failed", process, started=now, updated=now, reason=reason, exit_status=exit_status))


def _what_next(folder: RunFolder) -> str:
    return f"  tunesmith runs tail {folder.path} -f\n  tunesmith runs stop {folder.path}"
