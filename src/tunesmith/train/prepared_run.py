"""Everything a run needs, loaded and checked before anything in its folder is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten
from tunesmith.data.prepare import PreparedData, prepare_data
from tunesmith.errors import UsageError
from tunesmith.models.load import require_name
from tunesmith.models.locate import locate
from tunesmith.models.processor import Preprocessor, load_preprocessor
from tunesmith.models.saving import save_trained
from tunesmith.models.weight_files import weight_files
from tunesmith.train.best import require_known_metric
from tunesmith.train.checkpoint import Progress, read_progress, restore
from tunesmith.train.folder.fingerprint import fingerprint_examples, fingerprint_files
from tunesmith.train.folder.identity import require_same_identity, run_identity, warn_of_changed_settings
from tunesmith.train.folder.lock import refuse_busy
from tunesmith.train.folder.resume import find_checkpoint, require_place
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.samples import parse_questions
from tunesmith.train.setup import Model, build_stepper, load_trained_model
from tunesmith.train.steps.plan import StepPlan, plan_steps
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper
from tunesmith.train.trackers.table import wanted_trackers


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """`checkpoint` is where the run goes on from, None for a new one; `state` is at its step."""

    settings: Settings
    folder: RunFolder
    checkpoint: Path | None
    preprocessor: Preprocessor
    data: PreparedData
    model: Model
    plan: StepPlan
    stepper: Stepper
    state: TrainState
    identity: Mapping[str, Any]

    def write_model(self, folder: Path) -> None:
        """Model or adapter, with its tokenizer or processor."""
        save_trained(self.model, folder)
        self.preprocessor.save(folder)


def prepare_run(settings: Settings) -> PreparedRun:
    """Load data and model, and the checkpoint to go on from.

    Raises UsageError, DataError, ModelError or RunError, in this order of what is checked, cheapest first.
    """
    folder = require_folder(settings)
    _check_early(settings)
    refuse_busy(folder.path)
    checkpoint = find_checkpoint(settings.training, folder)
    progress = read_progress(checkpoint) if checkpoint else None
    require_place(settings.training, folder, checkpoint)
    preprocessor = load_preprocessor(settings.model, settings.media)
    data = prepare_data(settings, preprocessor)
    identity = _identify(settings, data)
    if progress is not None:
        _require_fit(progress, identity, settings)
    plan = plan_steps(settings.training, num_examples=len(data.train))
    model = load_trained_model(settings)
    stepper = build_stepper(model, settings, plan=plan)
    if checkpoint is not None:
        restore(checkpoint, stepper)
    state = progress.state if progress else TrainState()
    return PreparedRun(settings, folder, checkpoint, preprocessor, data, model, plan, stepper, state, identity)


def require_folder(settings: Settings) -> RunFolder:
    """`output_dir`. Raises UsageError if it is not set."""
    if settings.training.output_dir is None:
        raise UsageError("output_dir is not set; give the folder that the run is written to")
    return RunFolder(Path(settings.training.output_dir).expanduser())


def _check_early(settings: Settings) -> None:
    """Mistakes that need neither data nor model to be seen."""
    build_objective(settings)
    parse_questions(settings.training.sample_prompts)
    require_known_metric(settings.training)
    wanted_trackers(settings.tracking)


def _identify(settings: Settings, data: PreparedData) -> dict[str, Any]:
    base = locate(require_name(settings.model), settings.model)
    weights = [] if settings.model.train_from_scratch else weight_files(base)
    return run_identity(
        settings,
        data=fingerprint_examples(data.train),
        model=fingerprint_files([base / "config.json", *weights]),
    )


def _require_fit(progress: Progress, identity: Mapping[str, Any], settings: Settings) -> None:
    require_same_identity(progress.identity, identity)
    warn_of_changed_settings(progress.settings, flatten(settings))
