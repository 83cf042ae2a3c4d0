"""Everything a run on drawn answers needs, loaded and checked before anything in its folder is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith import extras, log
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten
from tunesmith.data.prepare import PreparedData, prepare_data
from tunesmith.data.report.report_builder import ReportBuilder
from tunesmith.errors import DataError, NotSupportedYetError, UsageError
from tunesmith.infer.end_of_turn import end_of_turn_id
from tunesmith.infer.sampling import as_ids
from tunesmith.models.dropout import switch_off_dropout
from tunesmith.models.families.table import find_family
from tunesmith.models.parts import core_model
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor
from tunesmith.models.saving import save_trained
from tunesmith.train.checkpoint.progress import Progress, read_progress
from tunesmith.train.folder.identity import require_same_identity, warn_of_changed_settings
from tunesmith.train.folder.lock import refuse_busy
from tunesmith.train.folder.resume import find_checkpoint, require_place
from tunesmith.train.folder.run_folder import RunFolder
from tunesmith.train.grpo.keeper import trainer_part
from tunesmith.train.grpo.plan import DrawingPlan, plan_drawing
from tunesmith.train.grpo.prompts import Prompts, find_prompts
from tunesmith.train.grpo.rewards.table import WeightedReward, build_rewards
from tunesmith.train.prepared_run import identify, require_folder
from tunesmith.train.samples import parse_questions
from tunesmith.train.setup import Model, load_trained_model
from tunesmith.train.steps.state import TrainState
from tunesmith.train.trackers.table import wanted_trackers


@dataclass(frozen=True, slots=True)
class DrawingRun:
    """What a run is made of. checkpoint: where it goes on from, None for a new one; `state` is at its step.

    stop_ids: tokens that end an answer
    """

    settings: Settings
    folder: RunFolder
    checkpoint: Path | None
    preprocessor: Preprocessor
    data: PreparedData
    prompts: Prompts
    rewards: tuple[WeightedReward, ...]
    plan: DrawingPlan
    model: Model
    stop_ids: tuple[int, ...]
    state: TrainState
    report: ReportBuilder
    identity: Mapping[str, Any]

    def write_model(self, folder: Path) -> None:
        """Model or adapter, with its tokenizer or processor."""
        save_trained(self.model, folder, adapter_layout=self.settings.tuning.adapter_layout)
        self.preprocessor.save(folder)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, its end left out even where the tokenizer does not call it special."""
        tokenizer: Any = self.preprocessor.tokenizer
        text: str = tokenizer.decode([token for token in ids if token not in self.stop_ids], skip_special_tokens=True)
        return text


def prepare_drawing(settings: Settings) -> DrawingRun:
    """Load rewards, data and model, and find the checkpoint to go on from.

    Raises MissingExtraError, UsageError, DataError, ModelError or RunError, cheapest first.
    """
    require_packages(settings)
    folder = require_folder(settings)
    parse_questions(settings.training.sample_prompts)
    wanted_trackers(settings.tracking)
    refuse_busy(folder.path)
    checkpoint = find_checkpoint(settings.training, folder)
    progress = _read_progress(checkpoint)
    require_place(settings.training, folder, checkpoint)
    rewards = build_rewards(settings)
    preprocessor = load_preprocessor(settings.model, settings.media)
    data = prepare_data(settings, preprocessor)
    prompts = find_prompts(data, settings.data)
    _require_prompts_fit(prompts, rewards)
    identity = _identify(settings, data)
    if progress is not None:
        require_same_identity(progress.identity, identity)
        warn_of_changed_settings(progress.settings, flatten(settings))
    model = _load_model(settings)
    return DrawingRun(
        settings=settings,
        folder=folder,
        checkpoint=checkpoint,
        preprocessor=preprocessor,
        data=data,
        prompts=prompts,
        rewards=rewards,
        plan=plan_drawing(settings, num_prompts=len(prompts.of_epoch(0))),
        model=model,
        stop_ids=_stop_ids(model, preprocessor, data),
        state=progress.state if progress else TrainState(),
        report=data.report_builder,
        identity=identity,
    )


def require_packages(settings: Settings) -> None:
    """Raise MissingExtraError where TRL, or vLLM if asked for, is not installed."""
    extras.require("trl", wanted_by="stage: grpo")
    if settings.grpo.use_vllm:
        extras.require("vllm", wanted_by="use_vllm: true")


def _read_progress(checkpoint: Path | None) -> Progress | None:
    if checkpoint is None:
        return None
    progress = read_progress(checkpoint)
    trainer_part(checkpoint)
    return progress


def _require_prompts_fit(prompts: Prompts, rewards: Sequence[WeightedReward]) -> None:
    """Raise DataError where a reward compares with answers that rows do not give, NotSupportedYetError for media."""
    for kind, source in prompts.kinds.items():
        if kind != "image":
            raise NotSupportedYetError(
                f"{source}: the row has {kind}, and TRL's trainer takes text and images alone; leave such rows out"
            )
    first = prompts[0]
    wanting = [weighted.reward.name for weighted in rewards if weighted.reward.needs_reference]
    if wanting and all(prompts[number].reference is None for number in range(min(len(prompts), 100))):
        raise DataError(
            f"reward_funcs: {', '.join(wanting)} compares with the rows' own answers, and the rows have none (the "
            f"first: {first.conversation.source}, columns {', '.join(first.row)}); give each an answer, as its last "
            "message or in the column that `columns: {response: NAME}` in dataset_info.json names"
        )


def _identify(settings: Settings, data: PreparedData) -> dict[str, Any]:
    grpo = settings.grpo
    return {
        **identify(settings, data),
        "num_generations": grpo.num_generations,
        "steps_per_generation": grpo.steps_per_generation,
        "grpo_num_iterations": grpo.grpo_num_iterations,
    }


def _load_model(settings: Settings) -> Model:
    model = load_trained_model(settings)
    if switch_off_dropout(model) and settings.tuning.lora_dropout > 0:
        log.info("dropout is off in stage grpo, as answers are compared with the probabilities they were drawn with")
    _require_readable_again(model, settings)
    return model


def _require_readable_again(model: Model, settings: Settings) -> None:
    """Raise NotSupportedYetError where TRL cannot read the model that a whole model is compared with."""
    model_type = core_model(model).config.model_type
    if settings.grpo.grpo_beta and settings.tuning.finetuning_type != "lora" and find_family(model_type) is not None:
        raise NotSupportedYetError(
            f"grpo_beta with finetuning_type: {settings.tuning.finetuning_type}: TRL reads the model to compare with "
            f"by transformers alone, which has no class for {model_type}; use finetuning_type: lora, or no grpo_beta"
        )


def _stop_ids(model: Model, preprocessor: Preprocessor, data: PreparedData) -> tuple[int, ...]:
    """What ends an answer in chat: the template's end of a turn, and the ends that tokenizer and model name."""
    own: Any = core_model(model).generation_config
    tokenizer: Any = preprocessor.tokenizer
    if own is None:
        raise UsageError("stage: grpo: this model cannot generate, so no answers can be drawn from it")
    ends = as_ids(tokenizer.eos_token_id) | as_ids(own.eos_token_id)
    return tuple(sorted({end_of_turn_id(preprocessor, data.encoder.template)} | ends))
