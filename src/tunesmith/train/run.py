"""`train(settings)`: one run from its settings to its folder.

Puts the parts together in order; what each does is in its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial

from tunesmith import log
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten, render_yaml
from tunesmith.train.bad_batches import BadBatches
from tunesmith.train.checkpoint.next_step import describe_step
from tunesmith.train.checkpoint.proof import prove
from tunesmith.train.determinism import repeatable
from tunesmith.train.display.header import describe_end, describe_run
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.evaluation_run import evaluate_only
from tunesmith.train.folder.atomic import write_text
from tunesmith.train.folder.json_lines import read_lines
from tunesmith.train.folder.lock import only_process_in
from tunesmith.train.folder.manifest import build_manifest, note_in_manifest, write_manifest
from tunesmith.train.folder.resume import open_folder, require_place
from tunesmith.train.grpo.run import draw_and_train
from tunesmith.train.keeper import Keeper
from tunesmith.train.loop import Loop
from tunesmith.train.memory_advice import advice_for_micro_batches
from tunesmith.train.mishaps import Mishaps
from tunesmith.train.parallel.choose import build_parallel
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.parallel.together import on_first
from tunesmith.train.pipelines import build_held_out_pipeline, held_out_batches, share_of
from tunesmith.train.prepared_run import PreparedRun, prepare_run
from tunesmith.train.recording import recording
from tunesmith.train.result import TrainResult, final_metrics
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.samples import Sampler, build_sampler
from tunesmith.train.steps.evaluation import Evaluation, evaluate
from tunesmith.train.steps.feed import FedStep, Feed
from tunesmith.train.steps.neftune import noisy_embeddings
from tunesmith.train.stopping import StopRequest

__all__ = ["TrainResult", "train"]


def train(settings: Settings) -> TrainResult:
    """Train, or with do_train: false evaluate, as the settings say: this process alone, or as one of those that a
    launcher started.

    Raises TunesmithErrors; KeyboardInterrupt after Ctrl-C or SIGTERM, once a checkpoint is saved.
    """
    log.forget_said()
    with repeatable(settings.parallel.full_determinism):
        return draw_and_train(settings) if settings.training.stage == "grpo" else _train_or_evaluate(settings)


def _train_or_evaluate(settings: Settings) -> TrainResult:
    parallel = build_parallel(settings)
    try:
        if not settings.training.do_train:
            return evaluate_only(settings, parallel)
        return _train(settings, parallel)
    finally:
        parallel.close()


def _train(settings: Settings, parallel: Parallel) -> TrainResult:
    run = prepare_run(settings, parallel)
    with ExitStack() as held:
        on_first(parallel, lambda: _begin(run, held))
        log.info(_describe(run))
        _train_to_the_end(run)
    return _conclude(run)


def _begin(run: PreparedRun, held: ExitStack) -> None:
    """Take the run folder, and write what a run begins with."""
    held.enter_context(only_process_in(run.folder.path))
    require_place(run.settings.training, run.folder, run.checkpoint)  # a run may have begun there meanwhile
    open_folder(run.folder, checkpoint=run.checkpoint, step=run.state.step)
    _write_beginning(run)


def _describe(run: PreparedRun) -> str:
    reference = run.compared.reference
    return describe_run(
        run.model,
        run.settings,
        report=run.account.builder.report(),
        plan=run.plan,
        device=run.stepper.forward.device,
        compared_with=None if reference is None else reference.description,
    )


def _train_to_the_end(run: PreparedRun) -> None:
    stop = StopRequest()
    noise = run.settings.training.neftune_noise_alpha
    with stop.listening(), _recording_of(run) as recorder, ExitStack() as held:
        keeper = held.enter_context(closing(_build_keeper(run)))
        with noisy_embeddings(run.model.get_input_embeddings(), alpha=noise):
            _build_loop(run, recorder, keeper, stop).run()
        keeper.finish()


def _write_beginning(run: PreparedRun) -> None:
    """run.yaml, manifest.json and data_report.json."""
    device = run.stepper.forward.device
    write_text(run.folder.settings, render_yaml(run.settings))
    manifest = build_manifest(identity=run.identity, device=device, resumed_from=run.checkpoint)
    write_manifest(run.folder.manifest, manifest)
    run.account.write(run.folder.data_report)


def _recording_of(run: PreparedRun) -> AbstractContextManager[Recorder]:
    plan = run.plan
    return recording(
        run.folder,
        run.settings,
        total_steps=plan.total_steps,
        exact=plan.exact,
        first_step=run.state.step,
        is_first=run.parallel.rank == 0,
    )


def _build_keeper(run: PreparedRun) -> Keeper:
    return Keeper(
        folder=run.folder,
        training=run.settings.training,
        stepper=run.stepper,
        state=run.state,
        write_model=run.write_model,
        identity=run.identity,
        settings=flatten(run.settings),
        account=run.account,
        pace=run.pace,
        in_background=_saves_in_background(run),
    )


def _saves_in_background(run: PreparedRun) -> bool:
    wanted = run.settings.parallel.save_in_background
    return run.stepper.forward.device.type == "cuda" if wanted is None else wanted


def _prove_resumed(run: PreparedRun, following: FedStep | None) -> None:
    """Say whether the run goes on exactly where its checkpoint was. For all processes together."""
    parallel = run.parallel
    proof = prove(
        run.state.step,
        run.proven,
        describe_step(parallel, following),
        engine=parallel.name,
        num_processes=parallel.num_processes,
    )
    (log.info if proof.is_whole else log.warning)(proof.describe())
    on_first(parallel, partial(note_in_manifest, run.folder.manifest, resumed=proof.to_json()))


def _build_loop(run: PreparedRun, recorder: Recorder, keeper: Keeper, stop: StopRequest) -> Loop:
    evaluate = _build_evaluation(run)
    return Loop(
        stepper=run.stepper,
        feed=Feed(run.pipeline, run.plan),
        plan=run.plan,
        state=run.state,
        rhythm=Rhythm(run.settings.training, run.plan, has_held_out=evaluate is not None),
        recorder=recorder,
        keeper=keeper,
        mishaps=_build_mishaps(run),
        stop=stop,
        evaluate=evaluate,
        sampler=_build_sampler(run),
        prove=None if run.checkpoint is None else partial(_prove_resumed, run),
    )


def _build_mishaps(run: PreparedRun) -> Mishaps:
    return Mishaps(
        parallel=run.parallel,
        state=run.state,
        on_nan=run.settings.parallel.on_nan,
        bad_batches=BadBatches(run.folder.bad_batches, run.preprocessor.tokenizer, run.data.examples.media),
        keep_fits=run.splitters.keep,
        smaller=advice_for_micro_batches(run.settings),
    )


def _build_evaluation(run: PreparedRun) -> Callable[[], Evaluation] | None:
    """An evaluation of all held-out rows, None where there are none; the first one puts them into the data report."""
    if run.data.held_out is None:
        return None
    forward = run.stepper.forward
    pipeline = build_held_out_pipeline(
        run.data,
        run.data.held_out,
        run.settings,
        packing=run.compared.packing,
        device=forward.device,
        values=run.compared.values,
        share=share_of(run.parallel),
    )

    splitter = run.splitters.evaluation
    splitter.split = pipeline.split

    def evaluate_held_out() -> Evaluation:
        account = None if run.state.held_out_counted else run.account
        run.state.held_out_counted = True
        return evaluate(forward, held_out_batches(pipeline, account, parallel=run.parallel), run.parallel, splitter)

    return evaluate_held_out


def _build_sampler(run: PreparedRun) -> Sampler | None:
    return build_sampler(
        run.model,
        run.settings,
        preprocessor=run.preprocessor,
        encoder=run.data.encoder,
        autocast=run.stepper.forward.autocast,
        file=run.folder.samples,
    )


def _conclude(run: PreparedRun) -> TrainResult:
    metrics = final_metrics(read_lines(run.folder.metrics))
    log.info(describe_end(run.state, folder=run.folder.path, metrics=metrics, device=run.stepper.forward.device))
    return TrainResult(run.folder.path, metrics, run.state.step)
