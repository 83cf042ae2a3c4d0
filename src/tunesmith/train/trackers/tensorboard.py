"""TensorBoard event files, in `logging_dir` or the run folder's `tensorboard/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunesmith import extras
from tunesmith.train.trackers.tracker import TrackedRun


class TensorBoardTracker:
    """Writes through torch's SummaryWriter."""

    def __init__(self, run: TrackedRun) -> None:
        extras.require("tensorboard", wanted_by="report_to: tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(run.tracking.logging_dir) if run.tracking.logging_dir else run.folder / "tensorboard"
        self._writer = SummaryWriter(log_dir=str(folder))

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Scalars; flushed, so that a killed run's curve is complete."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        """Close the event file."""
        self._writer.close()
