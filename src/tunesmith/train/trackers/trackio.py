"""Trackio (https://github.com/gradio-app/trackio): `report_to: trackio`, a local database with a dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith import extras
from tunesmith.train.trackers.tracker import TrackedRun


class TrackioTracker:
    """Logs through the trackio client; TRACKIO_DIR says where its database lies."""

    def __init__(self, run: TrackedRun) -> None:
        trackio = extras.require("trackio", wanted_by="report_to: trackio")
        self._run = trackio.init(project=run.project, name=run.name, config=dict(run.config), embed=False)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        """Write what is left."""
        self._run.finish()
