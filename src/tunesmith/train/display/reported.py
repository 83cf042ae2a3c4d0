"""A display that keeps the run's status at the step it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.train.display.progress import Display, StepStatus
from tunesmith.train.folder.status import StatusReport


@dataclass(frozen=True, slots=True)
class ReportedDisplay:
    """What `display` shows, and `report` hears of."""

    display: Display
    report: StatusReport

    def step(self, step: int, status: StepStatus) -> None:
        """A step is finished."""
        self.report.step = step
        self.display.step(step, status)

    def line(self, line: Mapping[str, Any]) -> None:
        """A line was added to metrics.jsonl."""
        self.display.line(line)
