"""Everything a run needs, loaded and checked before anything in its folder is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten
from tunesmith.data.feed.pipeline import Pipeline
from tunesmith.data.prepare import PreparedData, prepare_data
from tunesmith.data.report.report_builder import ReportBuilder
from tunesmith.errors import RunError, UsageError
from tunesmith.models.compiling import compile_layers
from tunesmith.models.files.locate import locate
from tunesmith.models.files.weight_files import weight_files
from tunesmith.models.load import require_name
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor
from tunesmith.models.saving import save_trained
from tunesmith.train.account import RowAccount
from tunesmith.train.best import require_known_metric
from tunesmith.train.checkpoint.fingerprint import Fingerprint
from tunesmith.train.checkpoint.progress import Progress, read_progress
from tunesmith.train.checkpoint.restore import restore
from tunesmith.train.folder.fingerprint import fingerprint_data, fingerprint_files
from tunesmith.train.folder.identity import require_same_identity, run_identity, warn_of_changed_settings
from tunesmith.train.folder.lock import refuse_busy
from tunesmith.train.folder.resume import find_checkpoint, require_place
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.objectives.reference import needs_reference
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.pipelines import build_training_pipeline, share_of
from tunesmith.train.reference.other_model import reference_settings
from tunesmith.train.reference.prepare import Compared, prepare_reference
from tunesmith.train.reference.reference_key import reference_files
from tunesmith.train.samples import parse_questions
from tunesmith.train.setup import Model, assemble, build_stepper
from tunesmith.train.splitting import Splitters, build_splitters
from tunesmith.train.steps.plan import StepPlan, plan_steps, require_an_end
from tunesmith.train.steps.schedule import Pace
from tunesmith.train.steps.sizing import size_epochs
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import Stepper
from tunesmith.train.trackers.table import wanted_trackers


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """What a run is made of.

    checkpoint: where the run goes on from, None for a new one; `state` and `account` are at its step
    proven:     the checkpoint's fingerprint, which came out of the run too; None where it has none
    compared:   what the model is compared with, and how it takes examples without padding
    pace:       what the schedule goes by where the number of steps is an estimate
    splitters:  what splits micro-batches that do not fit into memory
    """

    settings: Settings
    parallel: Parallel
    folder: RunFolder
    checkpoint: Path | None
    proven: Fingerprint | None
    preprocessor: Preprocessor
    data: PreparedData
    model: Model
    compared: Compared
    pipeline: Pipeline
    plan: StepPlan
    stepper: Stepper
    pace: Pace | None
    splitters: Splitters
    state: TrainState
    account: RowAccount
    identity: Mapping[str, Any]

    def write_model(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Model or adapter, with its tokenizer or processor. `weights`: its state_dict, None for what it is now."""
        save_trained(self.model, folder, weights=weights, adapter_layout=self.settings.tuning.adapter_layout)
        self.preprocessor.save(folder)


@dataclass(frozen=True, slots=True)
class _Trainable:
    """The model and what follows from what it can do."""

    model: Model
    compared: Compared
    pipeline: Pipeline
    plan: StepPlan
    stepper: Stepper
    pace: Pace | None


def prepare_run(settings: Settings, parallel: Parallel) -> PreparedRun:
    """Load data and model, and the checkpoint to go on from. For all processes together.

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
    accumulation = _micro_batches_per_step(settings, parallel, progress)
    identity = {**identify(settings, data), "gradient_accumulation_steps": accumulation}
    _require_alike(identity, parallel)
    if progress is not None:
        _require_fit(progress, identity, settings)
    trainable = _load(settings, data, parallel, accumulation)
    device = trainable.stepper.forward.device
    splitters = build_splitters(settings, folder, parallel=parallel, device=device)
    splitters.training.split = trainable.pipeline.split
    trainable.stepper.splitter = splitters.training
    if checkpoint is not None:
        kept = None if progress is None else progress.fingerprint
        restore(checkpoint, trainable.stepper, pace=trainable.pace, fingerprint=kept)
    return PreparedRun(
        settings=settings,
        parallel=parallel,
        folder=folder,
        checkpoint=checkpoint,
        preprocessor=preprocessor,
        data=data,
        model=trainable.model,
        compared=trainable.compared,
        pipeline=trainable.pipeline,
        plan=trainable.plan,
        stepper=trainable.stepper,
        pace=trainable.pace,
        splitters=splitters,
        proven=progress.fingerprint if progress else None,
        state=progress.state if progress else TrainState(),
        account=_open_account(data, progress),
        identity=identity,
    )


def require_folder(settings: Settings) -> RunFolder:
    """`output_dir`. Raises UsageError if it is not set."""
    if settings.training.output_dir is None:
        raise UsageError("output_dir is not set; give the folder that the run is written to")
    return RunFolder(Path(settings.training.output_dir).expanduser())


def _check_early(settings: Settings) -> None:
    """Mistakes that need neither data nor model to be seen."""
    parse_questions(settings.training.sample_prompts)
    require_known_metric(settings.training, build_objective(settings))
    require_an_end(settings.training, streaming=settings.data.streaming)
    wanted_trackers(settings.tracking)


def _micro_batches_per_step(settings: Settings, parallel: Parallel, progress: Progress | None) -> int:
    """Over all processes; a run that goes on with another number of them keeps the steps it had."""
    now = settings.training.gradient_accumulation_steps * parallel.num_processes
    kept = now if progress is None else int(progress.identity.get("gradient_accumulation_steps", now))
    if kept != now:
        log.info(f"the run goes on with its steps of {kept} micro-batches, over {parallel.num_processes} processes now")
    return kept


def _require_alike(identity: Mapping[str, Any], parallel: Parallel) -> None:
    """Raise RunError where a process sees other data or another model: files that differ between hosts."""
    for rank, other in enumerate(parallel.gather(dict(identity))):
        differing = sorted(key for key in identity if identity[key] != other.get(key))
        if differing:
            raise RunError(
                f"processes {parallel.rank} and {rank} do not see the same {', '.join(differing)}; give every host the "
                "same files and settings"
            )


def _load(settings: Settings, data: PreparedData, parallel: Parallel, accumulation: int) -> _Trainable:
    assembled = assemble(settings, parallel)
    called = assembled.forward.root or assembled.root
    with parallel.whole(called):
        compared = prepare_reference(assembled.forward, data, settings)
    forward = assembled.with_objective(build_objective(settings, compared.reference))
    if settings.training.torch_compile:
        _compile(assembled.model, compared.model)
    share = replace(share_of(parallel), per_step=accumulation)
    pipeline = build_training_pipeline(
        data, settings, packing=compared.packing, device=forward.device, values=compared.values, share=share
    )
    size = size_epochs(pipeline.order, pipeline.grouper, data.first, settings.training)
    plan = plan_steps(settings.training, size, accumulation=accumulation)
    pace = None if plan.exact else Pace()
    stepper = build_stepper(
        settings,
        forward=forward,
        optimizer=assembled.optimizer,
        parallel=parallel,
        total_steps=plan.total_steps,
        pace=pace,
    )
    return _Trainable(assembled.model, compared, pipeline, plan, stepper, pace)


def _compile(*models: nn.Module | None) -> None:
    for model in models:
        if model is not None:
            compile_layers(model)


def _open_account(data: PreparedData, progress: Progress | None) -> RowAccount:
    builder = ReportBuilder.from_json(progress.report) if progress else data.report_builder
    return RowAccount(builder, data.first.refs)


def identify(settings: Settings, data: PreparedData) -> dict[str, Any]:
    """What a resumed run must have in common with the run of these settings and this data."""
    base = locate(require_name(settings.model), settings.model)
    weights = [] if settings.model.train_from_scratch else weight_files(base)
    other = reference_files(reference_settings(settings)) if settings.preference.ref_model else []
    return run_identity(
        settings,
        data=fingerprint_data([dataset.fingerprint() for dataset in data.datasets], data.first.samples),
        model=fingerprint_files([base / "config.json", *weights]),
        reference=fingerprint_files(other) if other and needs_reference(settings) else None,
    )


def _require_fit(progress: Progress, identity: Mapping[str, Any], settings: Settings) -> None:
    require_same_identity(progress.identity, identity)
    warn_of_changed_settings(progress.settings, flatten(settings))
