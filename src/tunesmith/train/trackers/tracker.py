"""The tracker contract: somewhere else that a run's numbers go, beside its folder.

A tracker may fail in any way it likes; `background` sees to it that no run notices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.config.training import TrackingSettings


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told about a run. `config` is the flat settings, without secrets."""

    folder: Path
    name: str
    config: Mapping[str, Any]
    tracking: TrackingSettings

    @property
    def project(self) -> str:
        """`project`, or Tunesmith's name."""
        return self.tracking.project or "tunesmith"


class Tracker(Protocol):
    """An opened connection to one client. Every method may raise anything."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Numbers of one step, named `train/loss`, `eval/loss`, …"""

    def finish(self) -> None:
        """The run is over: send what is left."""
