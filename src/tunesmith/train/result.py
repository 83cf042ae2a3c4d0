"""What a finished run returns to Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainResult:
    """run_folder: where everything is; metrics: the last values in metrics.jsonl; steps: finished optimiser steps."""

    run_folder: Path
    metrics: dict[str, float]
    steps: int


def final_metrics(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of every number in the lines of metrics.jsonl, `step` left out."""
    metrics: dict[str, float] = {}
    for line in lines:
        metrics |= {key: value for key, value in line.items() if key != "step" and value is not None}
    return metrics
