"""SwanLab (https://swanlab.cn): `use_swanlab: true` or `report_to: swanlab`; cloud, local, offline or disabled."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith import env, extras
from tunesmith.config.training import TrackingSettings
from tunesmith.train.trackers.tracker import TrackedRun


class SwanLabTracker:
    """Logs through the swanlab client. The key comes from the settings or SWANLAB_API_KEY and is never shown."""

    def __init__(self, run: TrackedRun) -> None:
        swanlab = extras.require("swanlab", wanted_by="use_swanlab: true")
        tracking = run.tracking
        key = _api_key(tracking)
        if tracking.swanlab_mode == "cloud":
            if key is None:
                raise RuntimeError(
                    "swanlab_mode: cloud needs a key; set SWANLAB_API_KEY in the environment, or swanlab_mode: local"
                )
            swanlab.login(api_key=key)
        self._run = swanlab.init(
            project=tracking.swanlab_project,
            workspace=tracking.swanlab_workspace,
            experiment_name=tracking.swanlab_run_name or run.name,
            mode=tracking.swanlab_mode,
            logdir=tracking.swanlab_logdir or str(run.folder / "swanlab"),
            config=dict(run.config),
        )
        self._swanlab = swanlab

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Numbers of one step."""
        self._swanlab.log(dict(metrics), step=step)

    def finish(self) -> None:
        """Send what is left."""
        self._swanlab.finish()


def _api_key(tracking: TrackingSettings) -> str | None:
    if tracking.swanlab_api_key is not None:
        return tracking.swanlab_api_key.get_secret_value()
    return env.swanlab_api_key()
