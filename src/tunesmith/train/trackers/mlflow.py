"""MLflow (https://mlflow.org): `report_to: mlflow`. MLFLOW_TRACKING_URI says where; else the run folder's mlflow.db."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from tunesmith import env, extras
from tunesmith.train.trackers.tracker import TrackedRun

_MOST_PARAMS = 100
_LONGEST_PARAM = 250


class MlflowTracker:
    """Logs through the mlflow client."""

    def __init__(self, run: TrackedRun) -> None:
        mlflow = extras.require("mlflow", wanted_by="report_to: mlflow")
        mlflow.set_tracking_uri(env.mlflow_tracking_uri() or f"sqlite:///{run.folder / 'mlflow.db'}")
        mlflow.set_experiment(run.project)
        self._run_id = mlflow.start_run(run_name=run.name).info.run_id
        config = iter(run.config.items())
        while part := list(islice(config, _MOST_PARAMS)):  # servers take no more at a time
            mlflow.log_params({key: str(value)[:_LONGEST_PARAM] for key, value in part})
        self._mlflow = mlflow

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Numbers of one step."""
        self._mlflow.log_metrics(dict(metrics), step=step, run_id=self._run_id)

    def finish(self) -> None:
        """Mark the run finished."""
        self._mlflow.end_run()
