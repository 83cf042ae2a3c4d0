"""Weights & Biases (https://wandb.ai): `report_to: wandb`. Its own environment variables (WANDB_MODE, …) apply."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith import extras
from tunesmith.train.trackers.tracker import TrackedRun


class WandbTracker:
    """Logs through the wandb client, which keeps its files in the run folder."""

    def __init__(self, run: TrackedRun) -> None:
        wandb = extras.require("wandb", wanted_by="report_to: wandb")
        settings = wandb.Settings(silent=True, console="off")
        if wandb.setup(settings).settings.mode not in {"offline", "disabled"} and not wandb.api.api_key:
            # asked now, wandb would wait for somebody to type a key
            raise RuntimeError("wandb has no key; run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline")
        self._run = wandb.init(
            project=run.project, name=run.name, dir=str(run.folder), config=dict(run.config), settings=settings
        )

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        """Send what is left."""
        self._run.finish()
