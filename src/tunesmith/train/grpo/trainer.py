"""TRL's GRPOTrainer with Tunesmith's prompts, optimiser, schedule and checkpoints.

What is drawn from are the ids that Tunesmith's own encoder makes of a row, so that a model is asked the way it was
taught. Imports trl, so it is imported once that is known to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer
from trl import __version__ as trl_version

from tunesmith.chat.template import TemplateMessage
from tunesmith.errors import DataError, UsageError
from tunesmith.models.parts import core_model
from tunesmith.train.grpo.images import number_of
from tunesmith.train.grpo.judge import Judge, reward_functions
from tunesmith.train.setup import Model

_OVERRIDDEN = ("_tokenize_prompts", "_generate_single_turn", "_load_from_checkpoint", "_save_checkpoint")


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """What is Tunesmith's own in the loop of TRL.

    build_optimizer: of a model; build_scheduler: of an optimiser, and the number of steps
    restore_weights: put what a checkpoint folder holds into a model
    """

    build_optimizer: Callable[[nn.Module], Optimizer]
    build_scheduler: Callable[[Optimizer, int], LambdaLR]
    restore_weights: Callable[[Path, nn.Module], None]


class PromptedTrainer(GRPOTrainer):  # type: ignore[misc]  # trl has no types
    """Prompts are rows of `number`s; their ids come from `judge.prompts`."""

    optimizer: Any
    lr_scheduler: Any
    control: Any

    def __init__(self, *, judge: Judge, parts: TrainingParts, **options: Any) -> None:
        self._judge = judge
        self._parts = parts
        super().__init__(**options)
        self.remove_callback(PrinterCallback)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, dict[str, Any]]:
        """The ids of prompts, which are numbers written out, or with images messages that know theirs.

        TRL's own would read a row's text as if the template had written it, special tokens and all; of messages it
        gives the pixels too, and its ids must be the same. Raises DataError where they are not.
        """
        numbers = [number_of(prompt) for prompt in prompts]
        found = self._judge.ask(numbers)
        ids = {number: prompt.ids.tolist() for number, prompt in found.items()}
        if isinstance(prompts[0], str):
            return [ids[number] for number in numbers], None, {}
        seen, images, fields = super()._tokenize_prompts(prompts)
        for number, theirs in zip(numbers, seen, strict=True):
            if list(theirs) != ids[number]:
                raise DataError(
                    f"{found[number].conversation.source}: TRL reads this prompt with images otherwise than Tunesmith "
                    "does, which happens where a row's text holds special tokens of the model; change the row or leave "
                    "it out"
                )
        return seen, None if images is None else [held or [] for held in images], fields

    def _generate_single_turn(self, *given: Any, **options: Any) -> Any:
        """In the number format that training computes in; TRL's own would compute in that of the weights."""
        with self.accelerator.autocast():
            return super()._generate_single_turn(*given, **options)

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """The optimiser that `optim` names, with its groups of weights."""
        if self.optimizer is None:
            self.optimizer = self._parts.build_optimizer(model or self.model)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """The schedule that `lr_scheduler_type` names."""
        if self.lr_scheduler is None:
            self.lr_scheduler = self._parts.build_scheduler(optimizer or self.optimizer, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Only the folder: checkpoints get the model from Tunesmith, in the layout that its other stages write."""
        if output_dir is not None:
            Path(output_dir).mkdir(parents=True, exist_ok=True)

    def save_now(self) -> None:
        """A checkpoint of the last finished step."""
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: run folders hold no README."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._parts.restore_weights(Path(resume_from_checkpoint).parent, model or self.model)

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere that the user did not name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a trainer asks: prompts by their numbers, in order, and what makes ids of them.

    form: of a number what TRL gets as the prompt; None: the number itself, whose ids are known
    """

    numbers: Sequence[int]
    processing: PreTrainedTokenizerBase | ProcessorMixin
    form: Callable[[int], list[TemplateMessage]] | None = None

    @property
    def rows(self) -> Dataset:
        """Rows of `prompt` and `number`, the same but for their types."""
        return Dataset.from_dict({"prompt": list(map(str, self.numbers)), "number": list(self.numbers)})

    def collate(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows as TRL reads them, each prompt in its form, which is made once however often it stands there."""
        if self.form is None:
            return rows
        made = {number: self.form(number) for number in {row["number"] for row in rows}}
        return [{**row, "prompt": made[row["number"]]} for row in rows]


def build_trainer(
    model: Model,
    arguments: GRPOConfig,
    *,
    judge: Judge,
    asked: Asked,
    parts: TrainingParts,
    stop_ids: Sequence[int],
    callback: TrainerCallback,
) -> PromptedTrainer:
    """The trainer of `model`. Raises UsageError for what TRL refuses."""
    _require_known_trl()
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    formats = {name: parameter.dtype for name, parameter in model.named_parameters()}
    arguments.reward_weights = [weighted.weight for weighted in judge.rewards]
    try:
        with _stopping_at(model, stop_ids):
            trainer = PromptedTrainer(
                judge=judge,
                parts=parts,
                model=model,
                reward_funcs=reward_functions(judge),
                args=arguments,
                train_dataset=asked.rows,
                processing_class=asked.processing,
                callbacks=[callback],
            )
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"stage: grpo: TRL's trainer refuses this model or these settings: {error}") from error
    trainer.data_collator = asked.collate
    _keep_what_trains(model, trains, formats)
    return trainer


def _require_known_trl() -> None:
    """Raise UsageError for a TRL whose trainer is put together otherwise: it would not draw from the given ids."""
    absent = [name for name in _OVERRIDDEN if not hasattr(GRPOTrainer, name)]
    if absent:
        raise UsageError(
            f"stage: grpo: trl {trl_version} has no {', '.join(absent)} in its trainer, where Tunesmith steps in; "
            "pip install trl==1.16.0"
        )


@contextmanager
def _stopping_at(model: Model, stop_ids: Sequence[int]) -> Iterator[None]:
    """TRL reads from the model, once, which tokens end an answer; the model then says of itself what it said before."""
    own: Any = core_model(model).generation_config
    before = own.eos_token_id
    own.eos_token_id = list(stop_ids)
    try:
        yield
    finally:
        own.eos_token_id = before


def _keep_what_trains(model: Model, trains: set[str], formats: dict[str, torch.dtype]) -> None:
    """TRL adds an adapter to compare with, and rounds adapters on quantised weights to bfloat16: neither is to train
    other weights, nor in other formats."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trains)
        if name in formats and parameter.dtype != formats[name]:
            parameter.data = parameter.data.to(formats[name])
