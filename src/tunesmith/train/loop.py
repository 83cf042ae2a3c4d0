"""The loop: step after step, and what is due after each.

Works with any objective and any number of processes; knows no stage names and no files but through its parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from tunesmith import log
from tunesmith.data.feed.lost import LostSamples
from tunesmith.errors import DataError, RunError, StartAgainError
from tunesmith.train.best import gives_up, take_in
from tunesmith.train.checkpoint.next_step import Lookahead
from tunesmith.train.display.metrics import evaluation_line, training_line
from tunesmith.train.display.progress import StepStatus
from tunesmith.train.display.recorder import Recorder
from tunesmith.train.keeper import Keeper
from tunesmith.train.mishaps import Mishaps
from tunesmith.train.rhythm import Rhythm
from tunesmith.train.samples import Sampler
from tunesmith.train.steps.counts import StepCounts, count_together
from tunesmith.train.steps.evaluation import Evaluation
from tunesmith.train.steps.feed import FedStep, Feed
from tunesmith.train.steps.not_finite import NotFiniteError
from tunesmith.train.steps.plan import StepPlan
from tunesmith.train.steps.randomness import seed_micro_batch
from tunesmith.train.steps.refusal import StepRefusedError
from tunesmith.train.steps.state import TrainState
from tunesmith.train.steps.step import StepOutcome, Stepper
from tunesmith.train.stopping import StopRequest


@dataclass(slots=True)
class Loop:
    """The parts of a run. `evaluate` and `sampler` are None where nothing is held out or asked.

    prove: called in a resumed run with what its first step takes here, before anything else
    """

    stepper: Stepper
    feed: Feed
    plan: StepPlan
    state: TrainState
    rhythm: Rhythm
    recorder: Recorder
    keeper: Keeper
    mishaps: Mishaps
    stop: StopRequest
    evaluate: Callable[[], Evaluation] | None = None
    sampler: Sampler | None = None
    prove: Callable[[FedStep | None], None] | None = None
    last_evaluation: Evaluation | None = field(default=None, init=False)
    _steps: Lookahead | None = field(default=None, init=False)
    _wait_s: float = field(default=0.0, init=False)
    _stops: bool = field(default=False, init=False)
    _lost: LostSamples = field(default_factory=LostSamples, init=False)

    def run(self) -> None:
        """Train from the state's step to the end of the plan, or until early stopping. For all processes together.

        Raises KeyboardInterrupt, after saving, when asked to stop; DataError, after saving, for a row that cannot be
        used; RunError for a loss that is not finite.
        """
        with closing(self.feed.steps(self.state.place)) as steps:
            self._steps = Lookahead(steps)
            if self.prove is not None:
                self.prove(self._steps.peek())
            if self.state.step == 0:
                self._before_first_step()
            elif self._settle_if_saved_in_a_hurry() or self._gives_up():
                return
            while (found := self._next(self._steps)) is not None:
                self._record(self._take(*found))
                if self._must_stop:
                    self._save_and_stop()
                if self._settle():
                    return
                if self._must_stop:
                    self._save_and_stop()

    def _before_first_step(self) -> None:
        if self.evaluate is not None and self.keeper.training.eval_on_start:
            self._evaluate()
        if self.sampler is not None and self.rhythm.asks(self.state.place):
            self._ask(self.sampler)

    def _next(self, steps: Iterator[FedStep]) -> tuple[FedStep, StepCounts] | None:
        """What the next step takes here and what it has in all, None after the last; the time waited for it is kept."""
        started = time.perf_counter()
        with self._saving_before_a_bad_row():
            fed = next(steps, None)
            if fed is None:
                return None
            counts = count_together(
                self.stepper.parallel,
                self.stepper.forward,
                fed.batches,
                stops=self.stop.requested,
                problem=fed.problem or self.keeper.problem,
                num_lost=len(fed.lost),
            )
        self._stops = counts.stops > 0
        fed = self._settle_rows(fed, counts)
        self._wait_s = time.perf_counter() - started
        return fed, counts

    def _settle_rows(self, fed: FedStep, counts: StepCounts) -> FedStep:
        """The step with what became of its rows in all processes."""
        told = self.stepper.parallel.gather(fed.lost) if counts.lost else []
        found = [sample for lost in told for sample in lost]
        return replace(fed, outcomes=self._lost.settle(fed.outcomes, found, ends_epoch=fed.after.ends_epoch))

    def _take(self, fed: FedStep, counts: StepCounts) -> StepOutcome:
        if self.keeper.pace is not None:
            self.keeper.pace.ahead = self.plan.passed(fed.after)
        started = time.perf_counter()
        seed, step = self.keeper.training.seed, self.state.step
        with self._saving_before_a_refusal(f"step {step + 1}"):
            try:
                outcome = self.stepper.take(
                    fed.batches, counts=counts, seed=lambda index: seed_micro_batch(seed, step, fed.numbers[index])
                )
            except NotFiniteError as error:
                self.mishaps.not_finite(error, step=step + 1)
                outcome = self.stepper.skip(counts)
            else:
                self.mishaps.took(outcome, fed.batches, step=step + 1)
        self.state.count(fed, outcome, seconds=time.perf_counter() - started, wait_s=self._wait_s)
        self.keeper.account.take_in(fed, padding=counts.positions - counts.tokens)
        return outcome

    @property
    def _must_stop(self) -> bool:
        """Whether to save and end: with several processes what all agreed on before the step."""
        return self._stops if self.stepper.parallel.num_processes > 1 else self.stop.requested

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
            self._ask(self.sampler)
        self.state.settled_step = place.step
        gives_up = self._gives_up()
        if self.rhythm.saves(place, ends=gives_up) or (better and self.rhythm.keeps_best()):
            self.keeper.save(self._following)
        return gives_up

    def _ask(self, sampler: Sampler) -> None:
        """By one process where it has the whole model, else by all of them alike."""
        parallel = self.stepper.parallel
        if parallel.lockstep or parallel.rank == 0:
            with parallel.whole(self.stepper.forward.root or self.stepper.forward.model):
                sampler.ask(self.state.step)

    def _settle_if_saved_in_a_hurry(self) -> bool:
        return self.state.settled_step != self.state.step and self._settle()

    def _evaluate(self) -> bool:
        """Evaluate and record; whether it is the best so far."""
        assert self.evaluate is not None
        started = time.perf_counter()
        with self._saving_before_a_bad_row(), self._saving_before_a_refusal(f"evaluation after step {self.state.step}"):
            evaluation = self.evaluate()
        self.mishaps.evaluated(evaluation, step=self.state.step)
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
            self.keeper.settle()
            raise DataError(
                f"{error}\nStopped after step {self.state.step}; saved in {place}. resume_from_checkpoint: true with "
                "on_bad_row: skip goes on without the row"
            ) from error

    @contextmanager
    def _saving_before_a_refusal(self, what: str) -> Iterator[None]:
        """Where a step or an evaluation is refused no weight was changed: what was trained before is not lost."""
        try:
            yield
        except StartAgainError:
            raise
        except StepRefusedError as error:
            saved = f". Saved in {self.keeper.save()}" if self.state.step else ""
            raise RunError(f"{what}: {error}{saved}") from error
        except RunError as error:
            raise RunError(f"{what}: {error}") from error

    def _save_and_stop(self) -> None:
        place = self.keeper.save(self._following)
        self.keeper.settle()
        log.info(f"stopped after step {self.state.step}; saved in {place}. resume_from_checkpoint: true goes on")
        raise KeyboardInterrupt

    @property
    def _following(self) -> FedStep | None:
        """What the next step takes here, without taking it."""
        return None if self._steps is None else self._steps.peek()

    @property
    def _epoch(self) -> float:
        return self.plan.epochs_after(self.state.place)
