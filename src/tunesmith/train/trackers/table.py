"""Which trackers there are, and those a run asks for. A new one is one file beside this and one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tunesmith.config.training import TrackingSettings
from tunesmith.errors import UsageError
from tunesmith.train.trackers.background import BackgroundTracker
from tunesmith.train.trackers.mlflow import MlflowTracker
from tunesmith.train.trackers.swanlab import SwanLabTracker
from tunesmith.train.trackers.tensorboard import TensorBoardTracker
from tunesmith.train.trackers.tracker import TrackedRun, Tracker
from tunesmith.train.trackers.trackio import TrackioTracker
from tunesmith.train.trackers.wandb import WandbTracker

_TRACKERS: Mapping[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "swanlab": SwanLabTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}


def wanted_trackers(tracking: TrackingSettings) -> list[str]:
    """The names in `report_to`, and swanlab for `use_swanlab`. Raises UsageError for a name that is no tracker."""
    names = [name for name in tracking.report_to if name != "none"]
    names += ["swanlab"] if tracking.use_swanlab and "swanlab" not in names else []
    for name in names:
        if name not in _TRACKERS:
            raise UsageError(f"report_to: {name} is not a tracker; choose from {', '.join(_TRACKERS)}, or none")
    return names


def open_trackers(run: TrackedRun) -> list[BackgroundTracker]:
    """The trackers of a run, each opening in its own thread."""
    return [BackgroundTracker(name, partial(_TRACKERS[name], run)) for name in wanted_trackers(run.tracking)]
