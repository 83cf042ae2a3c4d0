"""Where a run's numbers go: metrics.jsonl, the display, and the trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.train.display.progress import Display
from tunesmith.train.folder.json_lines import append_line
from tunesmith.train.trackers.background import BackgroundTracker


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes each line everywhere. The file comes first: it is what counts; without one (None) nothing is recorded."""

    metrics_file: Path | None
    display: Display
    trackers: Sequence[BackgroundTracker] = ()

    def record(self, line: Mapping[str, Any]) -> None:
        """One line of training or evaluation."""
        if self.metrics_file is None:
            return
        append_line(self.metrics_file, line)
        self.display.line(line)
        metrics = _named_for_trackers(line)
        for tracker in self.trackers:
            tracker.log(metrics, step=line["step"])


def _named_for_trackers(line: Mapping[str, Any]) -> dict[str, float]:
    """`train/loss`, `eval/loss`: numbers only."""
    numbers = {key: value for key, value in line.items() if key != "step" and isinstance(value, int | float)}
    if "eval_loss" in line:
        return {f"eval/{key.removeprefix('eval_')}": value for key, value in numbers.items()}
    return {f"train/{key}": value for key, value in numbers.items()}
