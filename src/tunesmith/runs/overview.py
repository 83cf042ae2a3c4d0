"""One run at a glance: what a line of `tunesmith runs` shows, read from its folder without reading all of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunesmith.errors import RunError
from tunesmith.runs.numbers import Numbers, read_last_numbers
from tunesmith.runs.state import Seen, State, see
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.folder.status import Status, read_status


@dataclass(frozen=True, slots=True)
class Overview:
    """step, total_steps: finished steps, and about how many there will be (None: not known)
    loss, eval_loss: the last ones, on training rows and on held-out rows
    started, updated: the last start, and the last sign of life
    eta_s: seconds to the end, of a run that goes on and has logged a step
    checkpoint: the last one, what the run can go on from
    reason: why it is in this state; problems: what is wrong with the folder's files
    """

    path: Path
    state: State
    step: int | None
    total_steps: int | None
    exact: bool
    loss: float | None
    eval_loss: float | None
    tokens_per_s: float | None
    started: datetime | None
    updated: datetime | None
    eta_s: float | None
    host: str | None
    pid: int | None
    num_processes: int | None
    exit_status: int | None
    checkpoint: Path | None
    reason: str | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values; times in UTC."""
        plain = asdict(self)
        for key in ("path", "checkpoint"):
            plain[key] = None if plain[key] is None else str(plain[key])
        for key in ("started", "updated"):
            plain[key] = None if plain[key] is None else plain[key].astimezone(UTC).isoformat("T", "seconds")
        return plain


def look_at(path: Path) -> Overview:
    """What the folder says now. Files that cannot be read are among the problems."""
    folder = RunFolder(path)
    problems: list[str] = []
    status: Status | None = None
    try:
        status = read_status(folder.status)
        seen = see(status)
    except RunError as error:
        problems.append(str(error))
        seen = Seen("unknown")
    numbers = read_last_numbers(folder.metrics)
    if numbers.problem is not None:
        problems.append(numbers.problem)
    return _overview(folder, status, seen, numbers, tuple(problems))


def _overview(
    folder: RunFolder, status: Status | None, seen: Seen, numbers: Numbers, problems: tuple[str, ...]
) -> Overview:
    step = _step(status, numbers)
    total = None if status is None else status.total_steps
    return Overview(
        path=folder.path,
        state=seen.state,
        step=step,
        total_steps=total,
        exact=status is None or status.exact,
        loss=numbers.last("loss"),
        eval_loss=numbers.last("eval_loss"),
        tokens_per_s=numbers.last("tokens_per_s"),
        started=None if status is None else status.started,
        updated=None if status is None else status.updated,
        eta_s=_eta_s(step, total, numbers) if seen.is_live else None,
        host=None if status is None else status.process.host,
        pid=None if status is None else status.process.pid,
        num_processes=None if status is None else status.num_processes,
        exit_status=None if status is None else status.exit_status,
        checkpoint=folder.last_checkpoint(),
        reason=seen.reason,
        problems=problems,
    )


def _step(status: Status | None, numbers: Numbers) -> int | None:
    """The status is up to a heartbeat behind the metrics."""
    logged = numbers.lines[-1]["step"] if numbers.lines else None
    known = [step for step in (logged, None if status is None else status.step) if step is not None]
    return max(known, default=None)


def _eta_s(step: int | None, total: int | None, numbers: Numbers) -> float | None:
    step_s = numbers.last("step_s")
    if step is None or total is None or step_s is None:
        return None
    return max(0, total - step) * (step_s + (numbers.last("data_wait_s") or 0.0))
