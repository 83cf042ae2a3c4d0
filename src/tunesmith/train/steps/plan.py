"""The arithmetic of a run: how many steps, how far along it is, and when it ends.

A step takes `accumulation` micro-batches over all processes; the last step of an epoch takes what is left of it. Where
nobody has looked at every row the number of steps is an estimate: the run then goes by its rows, and ends with them.
Knows nothing of tensors or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.config.training import TrainingSettings
from tunesmith.errors import DataError, UsageError
from tunesmith.train.steps.place import Place


@dataclass(frozen=True, slots=True)
class EpochSize:
    """What one pass over the rows is made of.

    num_rows:       None where nobody counts them (streaming)
    rows_per_batch: of a micro-batch; a mean where they are grouped by their lengths
    uniform:        whether every micro-batch but an epoch's last has exactly so many rows, as far as anyone knows
    micro_batches:  of each epoch, where every row is known; None otherwise
    """

    num_rows: int | None
    rows_per_batch: float
    uniform: bool
    micro_batches: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How a run proceeds.

    epochs:          passes over the rows after which the run ends, infinity where max_steps ends it
    steps_per_epoch: of the first, None where nobody counts the rows; an estimate unless `exact`, as is rows_per_step
    total_steps:     an estimate unless `exact`
    counted:         whether the run ends after total_steps whatever its rows turn out to be
    """

    num_rows: int | None
    accumulation: int
    epochs: float
    steps_per_epoch: int | None
    rows_per_step: float
    total_steps: int
    exact: bool
    counted: bool

    @property
    def last_epoch(self) -> int | None:
        """The last epoch of which anything is trained on, from 0; None where only max_steps ends the run."""
        return None if math.isinf(self.epochs) else math.ceil(self.epochs) - 1

    def passed(self, place: Place) -> float:
        """How many of the plan's steps are passed at `place`: as many as there were, or as its rows make."""
        if self.counted or self.steps_per_epoch is None:
            return place.step
        in_epoch = min(place.rows / self.rows_per_step, self.steps_per_epoch)
        return place.epoch * self.steps_per_epoch + (self.steps_per_epoch if place.ends_epoch else in_epoch)

    def epochs_after(self, place: Place) -> float:
        """How many epochs are done at `place`, in fractions of rows; whole ones where nobody counts rows."""
        if place.ends_epoch:
            return float(place.epoch + 1)
        return place.epoch + (min(place.rows / self.num_rows, 1) if self.num_rows else 0)

    def is_last(self, place: Place) -> bool:
        """Whether the run ends at `place`."""
        if place.ends_epoch and place.epoch + 1 >= self.epochs:
            return True
        if self.counted or self.steps_per_epoch is None:
            return place.step >= self.total_steps
        return self.passed(place) >= self.epochs * self.steps_per_epoch


def plan_steps(training: TrainingSettings, size: EpochSize, *, accumulation: int | None = None) -> StepPlan:
    """The plan for `num_train_epochs` (fractions allowed) or, above 0, `max_steps`.

    accumulation: micro-batches of a step over all processes; None takes gradient_accumulation_steps

    Raises DataError without rows, UsageError where neither rows nor steps bound the run.
    """
    if size.num_rows == 0:
        raise DataError("no row is left to train on; see data_report.json for what was dropped and why")
    by_steps = training.max_steps > 0
    require_an_end(training, streaming=size.num_rows is None)
    accumulation = accumulation or training.gradient_accumulation_steps
    steps = _steps_of_epochs(size, training, accumulation)
    return StepPlan(
        num_rows=size.num_rows,
        accumulation=accumulation,
        epochs=math.inf if by_steps else training.num_train_epochs,
        steps_per_epoch=steps[0] if steps else None,
        rows_per_step=_rows_per_step(size, steps, accumulation),
        total_steps=training.max_steps if by_steps else _total(steps, training.num_train_epochs),
        exact=by_steps or size.uniform or size.micro_batches is not None,
        counted=by_steps or size.micro_batches is not None,
    )


def _steps_of_epochs(size: EpochSize, training: TrainingSettings, accumulation: int) -> list[int]:
    """Steps of every epoch to train, none where nobody counts rows."""
    if size.num_rows is None:
        return []
    if size.micro_batches is not None:
        return [math.ceil(count / accumulation) for count in size.micro_batches]
    if size.uniform:
        steps = math.ceil(math.ceil(size.num_rows / size.rows_per_batch) / accumulation)
    else:
        steps = max(1, round(size.num_rows / (size.rows_per_batch * accumulation)))
    return [steps] * math.ceil(training.num_train_epochs)


def _total(steps: Sequence[int], epochs: float) -> int:
    if len(set(steps)) == 1:
        return math.ceil(epochs * steps[0])
    whole = int(epochs)
    rest = math.ceil((epochs - whole) * steps[whole]) if epochs > whole else 0
    return sum(steps[:whole]) + rest


def _rows_per_step(size: EpochSize, steps: Sequence[int], accumulation: int) -> float:
    """So many that rows and steps agree: an epoch's rows are its steps."""
    if size.uniform or not steps or size.num_rows is None:
        return size.rows_per_batch * accumulation
    return size.num_rows / steps[0]


def require_an_end(training: TrainingSettings, *, streaming: bool) -> None:
    """Raises UsageError where neither rows nor steps bound the run."""
    if streaming and training.max_steps <= 0:
        raise UsageError("streaming: true does not count rows, so num_train_epochs cannot end the run; set max_steps")


def interval_in_steps(value: float, *, total_steps: int) -> int:
    """`save_steps` and the like: a number of steps, or below 1 a share of all."""
    return max(1, math.ceil(value * total_steps) if value < 1 else int(value))
