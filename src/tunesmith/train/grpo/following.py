"""What a run does between the steps of TRL's trainer: seed, count, log, ask, save, stop.

Saves come where the answers in hand are used up, so that a resumed run draws and learns as the run never stopped.
"""

# ruff: noqa: ARG002  the signatures that callbacks have

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.train.display.progress import StepStatus
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.folder.json_lines import append_line
from tunesmith.train.grpo.judge import Judge
from tunesmith.train.grpo.keeper import DrawingKeeper
from tunesmith.train.grpo.metrics import drawing_line
from tunesmith.train.grpo.plan import DrawingPlan
from tunesmith.train.grpo.samples import sample_lines
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.samples import Sampler
from tunesmith.train.steps.randomness import seed_micro_batch
from tunesmith.train.stopping import StopRequest


@dataclass(slots=True)
class FollowedRun:
    """The parts that a run's steps are followed with. `sampler` is None where nothing is asked."""

    plan: DrawingPlan
    rhythm: Rhythm
    judge: Judge
    recorder: Recorder
    keeper: DrawingKeeper
    stop: StopRequest
    device: torch.device
    sampler: Sampler | None = None


@dataclass(eq=False)
class Follower(TrainerCallback):
    """A callback of transformers' Trainer. `run` is set before the training begins."""

    seed: int
    run: FollowedRun | None = None
    last_learning_rate: float = field(default=0.0, init=False)
    _started: float = field(default=0.0, init=False)
    _save_is_due: bool = field(default=False, init=False)
    _seen_tokens: int = field(default=0, init=False)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask the questions a first time."""
        run = self._run
        self._seen_tokens = int(state.num_input_tokens_seen)
        if run.sampler is not None and run.keeper.state.step == 0:
            run.sampler.ask(0)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What a step draws depends on the seed and the step alone."""
        self._started = time.perf_counter()
        seed_micro_batch(self.seed, state.global_step, 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Count the step, and say what is due after it."""
        run = self._run
        self._count(state)
        place = run.keeper.state.place
        run.keeper.state.settled_step = place.step
        ends_window = run.plan.ends_window(place.step)
        stops = run.stop.requested and ends_window
        self._save_is_due |= run.rhythm.saves(place) or stops
        control.should_save = self._save_is_due and ends_window
        control.should_log = control.should_save or run.rhythm.logs(place)
        control.should_training_stop = stops or place.step >= run.plan.total_steps
        self._show(place.step)
        if run.sampler is not None and run.rhythm.asks(place):
            run.sampler.ask(place.step)
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """A line of metrics and a few answers; TRL's summary at the end is none."""
        run = self._run
        if logs is None or "loss" not in logs:
            return
        self.last_learning_rate = float(logs.get("learning_rate", 0.0))
        counted = run.keeper.state
        line = drawing_line(logs, counted, epoch=run.plan.step_plan.epochs_after(counted.place), device=run.device)
        run.recorder.record(line)
        for sample in sample_lines(run.judge, step=counted.step):
            append_line(run.keeper.folder.samples, sample)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Make a checkpoint of what the trainer wrote."""
        self._save_is_due = False
        self._run.keeper.take_in()

    @property
    def _run(self) -> FollowedRun:
        assert self.run is not None, "the parts are there before the training begins"
        return self.run

    def _count(self, state: TrainerState) -> None:
        run = self._run
        counted, window = run.keeper.state, run.keeper.state.window
        seconds = time.perf_counter() - self._started
        tokens = int(state.num_input_tokens_seen) - self._seen_tokens
        self._seen_tokens += tokens
        counted.place = run.plan.place(state.global_step)
        counted.seconds += seconds
        counted.tokens += tokens
        counted.supervised_tokens += run.judge.pop_new_tokens()
        window.tokens += tokens
        window.steps += 1
        window.seconds += seconds

    def _show(self, step: int) -> None:
        window = self._run.keeper.state.window
        self._run.recorder.display.step(
            step,
            StepStatus(
                loss=0.0,
                learning_rate=self.last_learning_rate,
                tokens_per_s=window.tokens / window.seconds if window.seconds else 0.0,
                data_wait_s=0.0,
                reward=self._run.judge.mean_reward,
            ),
        )
