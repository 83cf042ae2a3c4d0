"""The loop: step after step, and what is due after each.

Works with any objective and any number of processes; knows no stage names and no files but through its parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from tunesmith import log
from tunesmith.errors import DataError, RunError
from tunesmith.train.best import gives_up, take_in
from tunesmith.train.display.metrics import evaluation_line, training_line
from tunesmith.train.display.progress import StepStatus
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.keeper import Keeper
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.samples import Sampler
from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.feed import FedStep, Feed
from tunesmith.train.steps.plan import StepPlan
from tunesmith.train.steps.randomness import seed_step
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import StepOutcome, Stepper
from tunesmith.train.stopping import StopRequest


@dataclass(slots=True)
class Loop:
    """The parts of a run. `evaluate` and `sampler` are None where nothing is held out or asked."""

    stepper: Stepper
    feed: Feed
    plan: StepPlan
    state: TrainState
    rhythm: Rhythm
    recorder: Recorder
    keeper: Keeper
    stop: StopRequest
    evaluate: Callable[[], Evaluation] | None = None
    sampler: Sampler | None = None
    last_evaluation: Evaluation | None = field(default=None, init=False)
    _wait_s: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Train from the state's step to the end of the plan, or until early stopping.

        Raises KeyboardInterrupt, after saving, when asked to stop; DataError, after saving, for a row that cannot be
        used; RunError for a loss that is not finite.
        """
        if self.state.step == 0:
            self._before_first_step()
        elif self._settle_if_saved_in_a_hurry() or self._gives_up():
            return
        with closing(self.feed.steps(self.state.place)) as steps:
            while (fed := self._next(steps)) is not None:
                self._record(self._take(fed))
                if self.stop.requested:
                    self._save_and_stop()
                if self._settle():
                    return
                if self.stop.requested:
                    self._save_and_stop()

    def _before_first_step(self) -> None:
        if self.evaluate is not None and self.keeper.training.eval_on_start:
            self._evaluate()
        if self.sampler is not None and self.rhythm.asks(self.state.place):
            self.sampler.ask(0)

    def _next(self, steps: Iterator[FedStep]) -> FedStep | None:
        """What the next step takes, None after the last; the time waited for it is kept."""
        started = time.perf_counter()
        with self._saving_before_a_bad_row():
            fed = next(steps, None)
        self._wait_s = time.perf_counter() - started
        return fed

    def _take(self, fed: FedStep) -> StepOutcome:
        if self.keeper.pace is not None:
            self.keeper.pace.ahead = self.plan.passed(fed.after)
        started = time.perf_counter()
        seed_step(self.keeper.training.seed, self.state.step)
        try:
            outcome = self.stepper.take(fed.batches)
        except RunError as error:
            raise RunError(f"step {self.state.step + 1}: {error}") from error
        self.state.count(fed, outcome, seconds=time.perf_counter() - started, wait_s=self._wait_s)
        self.keeper.account.take_in(fed)
        return outcome

    def _record(self, outcome: StepOutcome) -> None:
        window = self.state.window
        self.recorder.display.step(
            self.state.step,
            StepStatus(
                loss=outcome.loss_sum / outcome.num_terms if outcome.num_terms else None,
                learning_rate=outcome.learning_rate,
                tokens_per_s=window.tokens / window.seconds if window.seconds else 0.0,
                data_wait_s=window.per_step(window.wait_s) or 0.0,
            ),
        )
        if self.rhythm.logs(self.state.place):
            line = training_line(
                self.state,
                epoch=self._epoch,
                outcome=outcome,
                device=self.stepper.forward.device,
            )
            self.recorder.record(line)

    def _settle(self) -> bool:
        """Evaluate, ask and save as far as due after the state's step; whether the run ends before its plan does."""
        place = self.state.place
        better = self.rhythm.evaluates(place) and self._evaluate()
        if self.sampler is not None and self.rhythm.asks(place):
            self.sampler.ask(place.step)
        self.state.settled_step = place.step
        gives_up = self._gives_up()
        if self.rhythm.saves(place, ends=gives_up) or (better and self.rhythm.keeps_best()):
            self.keeper.save()
        return gives_up

    def _settle_if_saved_in_a_hurry(self) -> bool:
        return self.state.settled_step != self.state.step and self._settle()

    def _evaluate(self) -> bool:
        """Evaluate and record; whether it is the best so far."""
        assert self.evaluate is not None
        started = time.perf_counter()
        with self._saving_before_a_bad_row():
            evaluation = self.evaluate()
        seconds = time.perf_counter() - started
        self.last_evaluation = evaluation
        self.recorder.record(evaluation_line(self.state, evaluation, epoch=self._epoch, seconds=seconds))
        return take_in(evaluation, self.state, self.keeper.training)

    def _gives_up(self) -> bool:
        if not gives_up(self.state, self.keeper.training) or self.plan.is_last(self.state.place):
            return False
        log.info(
            f"stopped early at step {self.state.step}: {self.state.evaluations_without_gain} evaluations without a "
            f"gain over step {self.state.best_step}"
        )
        return True

    @contextmanager
    def _saving_before_a_bad_row(self) -> Iterator[None]:
        """A row that nobody has looked at before may prove unusable; what was trained until then is not lost."""
        try:
            yield
        except DataError as error:
            if self.state.step == 0:
                raise
            place = self.keeper.save()
            raise DataError(
                f"{error}\nStopped after step {self.state.step}; saved in {place}. resume_from_checkpoint: true with "
                "on_bad_row: skip goes on without the row"
            ) from error

    def _save_and_stop(self) -> None:
        place = self.keeper.save()
        log.info(f"stopped after step {self.state.step}; saved in {place}. resume_from_checkpoint: true goes on")
        raise KeyboardInterrupt

    @property
    def _epoch(self) -> float:
        return self.plan.epochs_after(self.state.place)
