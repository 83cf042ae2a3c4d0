"""`draw_and_train(settings)`: one run of stage grpo from its settings to its folder.

Puts the parts together in order, as `train/run.py` does for the stages that learn from rows.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunesmith import log
from tunesmith.chat.template import TemplateMessage
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten, render_yaml
from tunesmith.errors import DataError, UsageError
from tunesmith.models.precision import choose_precision
from tunesmith.models.tuning.apply import parameter_groups
from tunesmith.train.account import RowAccount
from tunesmith.train.checkpoint.restore import restore_weights
from tunesmith.train.display.header import describe_end, describe_run
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.folder.atomic import write_text
from tunesmith.train.folder.json_lines import read_lines
from tunesmith.train.folder.lock import only_process_in
from tunesmith.train.folder.manifest import build_manifest, write_manifest
from tunesmith.train.folder.resume import open_folder, require_place
from tunesmith.train.grpo.following import FollowedRun, Follower
from tunesmith.train.grpo.images import ask_with_images, processor_for
from tunesmith.train.grpo.judge import Judge
from tunesmith.train.grpo.keeper import DrawingKeeper, trainer_part
from tunesmith.train.grpo.plan import list_prompts
from tunesmith.train.grpo.prepare import DrawingRun, prepare_drawing
from tunesmith.train.recording import recording
from tunesmith.train.result import TrainResult, final_metrics
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.samples import Sampler, build_sampler
from tunesmith.train.steps.optimizer import build_optimizer
from tunesmith.train.steps.schedule import build_scheduler
from tunesmith.train.stopping import StopRequest

if TYPE_CHECKING:
    from tunesmith.train.grpo.trainer import Asked, PromptedTrainer


def draw_and_train(settings: Settings) -> TrainResult:
    """Draw answers and learn from their rewards, as the settings say.

    Raises TunesmithErrors; KeyboardInterrupt after Ctrl-C or SIGTERM, once a checkpoint is saved.
    """
    run = prepare_drawing(settings)
    with only_process_in(run.folder.path):
        require_place(settings.training, run.folder, run.checkpoint)
        open_folder(run.folder, checkpoint=run.checkpoint, step=run.state.step)
        _write_beginning(run)
        log.info(_describe(run))
        _train_to_the_end(run)
    metrics = final_metrics(read_lines(run.folder.metrics))
    log.info(describe_end(run.state, folder=run.folder.path, metrics=metrics, device=run.model.device))
    return TrainResult(run.folder.path, metrics, run.state.step)


def _write_beginning(run: DrawingRun) -> None:
    write_text(run.folder.settings, render_yaml(run.settings))
    manifest = build_manifest(identity=run.identity, device=run.model.device, resumed_from=run.checkpoint)
    write_manifest(run.folder.manifest, manifest)
    RowAccount(run.report, ()).write(run.folder.data_report)


def _describe(run: DrawingRun) -> str:
    grpo, plan = run.settings.grpo, run.plan
    header = describe_run(
        run.model, run.settings, report=run.report.report(), plan=plan.step_plan, device=run.model.device
    )
    rewards = ", ".join(f"{weighted.reward.name} x {weighted.weight:g}" for weighted in run.rewards)
    prompts = "a prompt" if plan.prompts_per_window == 1 else f"each of {plan.prompts_per_window} prompts"
    steps = "1 step" if plan.steps_per_window == 1 else f"{plan.steps_per_window} steps"
    return (
        f"{header}\n"
        f"answers  {grpo.num_generations} to {prompts} at a time, up to {grpo.max_completion_length:,} tokens, learned "
        f"from in {steps}; rewarded by {rewards}"
    )


def _train_to_the_end(run: DrawingRun) -> None:
    training, plan = run.settings.training, run.plan
    judge, keeper, stop = Judge(run.prompts, run.rewards, run.decode), _build_keeper(run), StopRequest()
    follower = Follower(training.seed)
    with warnings.catch_warnings(), stop.listening(), _recording_of(run) as recorder:
        warnings.simplefilter("ignore", FutureWarning)  # names that trl uses and transformers is about to change
        trainer = _build_trainer(run, judge, keeper, follower)
        rhythm = Rhythm(training, plan.step_plan, has_held_out=False)
        follower.run = FollowedRun(plan, rhythm, judge, recorder, keeper, stop, run.model.device, _build_sampler(run))
        with _saving_before_a_bad_answer(run, trainer):
            trainer.train(resume_from_checkpoint=str(trainer_part(run.checkpoint)) if run.checkpoint else None)
        shutil.rmtree(keeper.unfinished, ignore_errors=True)
        if stop.requested and run.state.step < plan.total_steps:
            place = run.folder.checkpoint(run.state.step)
            log.info(f"stopped after step {run.state.step}; saved in {place}. resume_from_checkpoint: true goes on")
            raise KeyboardInterrupt
        keeper.finish()


@contextmanager
def _saving_before_a_bad_answer(run: DrawingRun, trainer: PromptedTrainer) -> Iterator[None]:
    """A reward may fail on an answer that nobody foresaw; what was trained until then is not lost."""
    before = run.state.step
    try:
        yield
    except (UsageError, DataError) as error:
        step = run.state.step
        if step in (0, before):
            raise
        place = run.folder.checkpoint(step)
        if not place.exists():
            trainer.save_now()
        raise type(error)(
            f"{error}\nStopped after step {step}; saved in {place}. resume_from_checkpoint: true goes on"
        ) from error


def _build_trainer(run: DrawingRun, judge: Judge, keeper: DrawingKeeper, follower: Follower) -> PromptedTrainer:
    # trl is optional: what imports it is imported once it is known to be there
    from tunesmith.train.grpo.arguments import build_arguments
    from tunesmith.train.grpo.trainer import TrainingParts, build_trainer

    settings = run.settings
    return build_trainer(
        run.model,
        build_arguments(
            settings,
            folder=keeper.unfinished,
            total_steps=run.plan.total_steps,
            stop_ids=run.stop_ids,
            template_options=run.data.encoder.template.options,
            use_cpu=run.model.device.type == "cpu",
        ),
        judge=judge,
        asked=_asked(run),
        parts=TrainingParts(partial(_optimizer_of, settings), partial(_schedule_of, settings), restore_weights),
        stop_ids=run.stop_ids,
        callback=follower,
    )


def _asked(run: DrawingRun) -> Asked:
    from tunesmith.train.grpo.trainer import Asked

    numbers = list_prompts(run.plan, run.prompts.of_epoch)
    if not run.prompts.kinds:
        return Asked(numbers, run.preprocessor.tokenizer)
    template, preprocessor = run.data.encoder.template, run.preprocessor

    def form(number: int) -> list[TemplateMessage]:
        return ask_with_images(run.prompts[number], number=number, template=template, preprocessor=preprocessor)

    return Asked(numbers, processor_for(template, preprocessor), form)


def _optimizer_of(settings: Settings, model: nn.Module) -> Optimizer:
    return build_optimizer(parameter_groups(model, settings), settings.training)


def _schedule_of(settings: Settings, optimizer: Optimizer, total_steps: int) -> LambdaLR:
    return build_scheduler(optimizer, settings.training, total_steps=total_steps)


def _build_keeper(run: DrawingRun) -> DrawingKeeper:
    return DrawingKeeper(
        folder=run.folder,
        training=run.settings.training,
        model=run.model,
        state=run.state,
        write_model=run.write_model,
        identity=run.identity,
        settings=flatten(run.settings),
        report=run.report,
    )


def _build_sampler(run: DrawingRun) -> Sampler | None:
    return build_sampler(
        run.model,
        run.settings,
        preprocessor=run.preprocessor,
        encoder=run.data.encoder,
        autocast=_autocast(run),
        file=run.folder.samples,
    )


def _autocast(run: DrawingRun) -> Callable[[], AbstractContextManager[object]]:
    compute = choose_precision(run.settings).autocast
    return nullcontext if compute is None else partial(torch.autocast, run.model.device.type, dtype=compute)


def _recording_of(run: DrawingRun) -> AbstractContextManager[Recorder]:
    return recording(run.folder, run.settings, total_steps=run.plan.total_steps, exact=True, first_step=run.state.step)
