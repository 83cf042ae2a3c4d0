"""status.json: what a run is doing, and how it ended; written by its first process alone, read by anybody.

    {"state": "running", "process": {"host": …, "pid": …}, "updated": …, "step": 120, "total_steps": 500, …}

It is written again every few seconds as a sign of life. A process that is killed writes nothing more: that it is gone
is for the reader to find out (`tunesmith.runs.state`). Knows no loop; the run tells it each step.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tunesmith import env, log
from tunesmith.errors import RunError, TunesmithError
from tunesmith.train.folder.atomic import write_text
from tunesmith.train.folder.heartbeat import EVERY_S, beating
from tunesmith.train.folder.process import Process, process_from_json, process_here, this_process
from tunesmith.train.folder.run_folder import RunFolder

Written = Literal["starting", "running", "stopped", "interrupted", "finished", "failed"]
"""starting: a run of its own session that does not hold its folder yet; stopped: asked to stop, and saved; interrupted:
stopped without saving."""
Value = TypeVar("Value")
_INTERRUPTED = 130
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Status:
    """launcher: the process that started this one and others, if one did; it is what to send a signal to
    started, updated: UTC; updated is the last sign of life
    step, total_steps: finished optimiser steps, and about how many there will be (None: not known yet)
    exact: whether total_steps is known, or about right
    reason: of a failure, one line
    attempt: how often the launcher had started the processes before, 0 for the first time
    """

    state: Written
    process: Process
    started: datetime
    updated: datetime
    launcher: Process | None = None
    step: int = 0
    total_steps: int | None = None
    exact: bool = True
    reason: str | None = None
    exit_status: int | None = None
    attempt: int = 0
    num_processes: int = 1

    @property
    def signalled(self) -> Process:
        """The process that stops the whole run."""
        return self.launcher or self.process

    @property
    def goes_on(self) -> bool:
        """Whether the run had not ended when this was written."""
        return self.state in {"starting", "running"}


class StatusReport:
    """The status of the run that this process trains; thread-safe."""

    def __init__(self, file: Path, status: Status) -> None:
        self.step = status.step
        """The last finished step; written with the next sign of life."""
        self._file = file
        self._status = status
        self._writing = threading.Lock()

    def write(self) -> None:
        """A sign of life. Raises RunError where the disk refuses."""
        with self._writing:
            self._status = replace(self._status, step=self.step, updated=_now())
            write_status(self._file, self._status)

    def end(self, state: Written, *, exit_status: int, reason: str | None = None) -> None:
        """How the run ended. A disk that refuses must not hide that: then the old text is written over, in place."""
        with self._writing:
            ended = replace(self._status, state=state, exit_status=exit_status, reason=reason)
            self._status = replace(ended, step=self.step, updated=_now())
            try:
                write_status(self._file, self._status)
            except RunError as error:
                _write_over(self._file, self._status, error)


@contextmanager
def reporting(
    folder: RunFolder, *, step: int, total_steps: int, exact: bool, every_s: float = EVERY_S
) -> Iterator[StatusReport]:
    """Keep status.json as long as the run lasts, and write how it ended. For the process that holds the folder.

    exact: whether `total_steps` is known, or about right
    """
    report = StatusReport(folder.status, _beginning(step=step, total_steps=total_steps, exact=exact))
    report.write()
    try:
        with beating(report.write, every_s=every_s):
            yield report
    except KeyboardInterrupt:
        saved = folder.checkpoint(report.step).is_dir()
        report.end("stopped" if saved else "interrupted", exit_status=_INTERRUPTED)
        raise
    except BaseException as error:
        report.end("failed", exit_status=_exit_status(error), reason=describe_reason(error))
        raise
    report.end("finished", exit_status=0)


@contextmanager
def answering_for(file: Path) -> Iterator[None]:
    """For a launcher: what it raises is how the run ended, where the first process was killed and could not say so."""
    try:
        yield
    except KeyboardInterrupt:
        _end_for_launched(file, "interrupted", exit_status=_INTERRUPTED, reason=None)
        raise
    except TunesmithError as error:
        _end_for_launched(file, "failed", exit_status=error.exit_status, reason=describe_reason(error))
        raise


def _end_for_launched(file: Path, state: Written, *, exit_status: int, reason: str | None) -> None:
    try:
        status = read_status(file)
    except RunError:
        return
    if status is not None and status.goes_on and status.launcher == this_process():
        StatusReport(file, status).end(state, exit_status=exit_status, reason=reason)


def write_status(file: Path, status: Status) -> None:
    """Write it whole or not at all. Raises RunError where the disk refuses."""
    write_text(file, _render(status))


def read_status(file: Path) -> Status | None:
    """What stands there, None if nothing does. Raises RunError for what is no status."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return _from_json(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RunError(f"{file} is no status of a run ({reason}); the run itself is not touched by that") from error


def describe_reason(error: BaseException) -> str:
    """An error as one line."""
    first = str(error).strip().partition("\n")[0][:_LONGEST_REASON]
    return first if isinstance(error, TunesmithError) else f"{type(error).__name__}: {first or 'no details'}"


def _beginning(*, step: int, total_steps: int, exact: bool) -> Status:
    now = _now()
    launcher = env.launcher()
    return Status(
        state="running",
        process=this_process(),
        launcher=None if launcher is None else process_here(launcher),
        started=now,
        updated=now,
        step=step,
        total_steps=total_steps,
        exact=exact,
        attempt=env.attempt(),
        num_processes=env.world_size(),
    )


def _exit_status(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return error.exit_status if isinstance(error, TunesmithError) else 1


def _write_over(file: Path, status: Status, refused: RunError) -> None:
    """Needs no new block of a full disk."""
    try:
        with file.open("r+", encoding="utf-8") as stream:
            stream.write(_render(status))
            stream.truncate()
    except OSError:
        log.warning(f"how the run ended is not in its folder: {refused}")


def _render(status: Status) -> str:
    times = {"started": status.started.isoformat("T", "seconds"), "updated": status.updated.isoformat("T", "seconds")}
    return json.dumps({**asdict(status), **times}, ensure_ascii=False, indent=1) + "\n"


def _from_json(kept: Any) -> Status:
    """Keys that a later version may add are left out."""
    if kept["state"] not in get_args(Written):
        raise ValueError(f"state {kept['state']!r} is not known")
    launcher: Any = kept.get("launcher")
    return Status(
        state=kept["state"],
        process=process_from_json(kept["process"]),
        launcher=None if launcher is None else process_from_json(launcher),
        started=_time(kept["started"]),
        updated=_time(kept["updated"]),
        step=int(kept["step"]),
        total_steps=_optional(int, kept.get("total_steps")),
        exact=bool(kept.get("exact", True)),
        reason=_optional(str, kept.get("reason")),
        exit_status=_optional(int, kept.get("exit_status")),
        attempt=int(kept.get("attempt", 0)),
        num_processes=int(kept.get("num_processes", 1)),
    )


def _optional(kind: Callable[[Any], Value], value: Any) -> Value | None:
    return None if value is None else kind(value)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)
