"""What a run is doing now, by what it last wrote and by whether its process is still there.

A process on another host cannot be seen: it is taken for lost once its last sign of life is minutes old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from tunesmith.runs.durations import describe_duration
from tunesmith.train.folder.status import Status, Written

State = Literal[Written, "restarting", "killed", "lost", "unknown"]
LIVE: frozenset[State] = frozenset({"starting", "running", "restarting"})
_SILENT_S = 180.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A state and, where it says too little, why."""

    state: State
    reason: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether the run may still write."""
        return self.state in LIVE


def see(status: Status | None, *, now: datetime | None = None) -> Seen:
    """The state at `now`; unknown for a run that was never told to write a status."""
    if status is None:
        return Seen("unknown", "no status.json: of an older version, or it died early")
    silence_s = ((now or datetime.now(UTC)) - status.updated).total_seconds()
    if not status.goes_on:
        return Seen("restarting", status.reason) if _is_restarted(status) else Seen(status.state, status.reason)
    if not status.process.is_here:
        return _see_from_afar(status, silence_s)
    if status.process.is_alive:
        silent = silence_s > _SILENT_S and status.state == "running"
        return Seen(
            status.state, f"no sign for {describe_duration(silence_s)}: it hangs, or is suspended" if silent else None
        )
    if _launcher_lives(status):
        return Seen("restarting", f"{status.process} is gone; its launcher is there")
    if status.state == "starting":
        return Seen("failed", "it ended before it began to train; log.txt says why")
    return Seen("killed", f"{status.process} is gone and wrote no end (killed, out of memory, or a crash)")


def _see_from_afar(status: Status, silence_s: float) -> Seen:
    if silence_s <= _SILENT_S:
        return Seen(status.state)
    since = status.updated.astimezone().strftime("%Y-%m-%d %H:%M")
    return Seen("lost", f"no sign since {since} of {status.process}")


def _is_restarted(status: Status) -> bool:
    """A failure after which the launcher starts all processes again, or ends in a moment."""
    return status.state == "failed" and _launcher_lives(status)


def _launcher_lives(status: Status) -> bool:
    return status.launcher is not None and status.launcher.is_here and status.launcher.is_alive
