"""How many micro-batches the rows of an epoch make: counted where all are known, else estimated by the first."""

from __future__ import annotations

import math

from tunesmith.config.training import TrainingSettings
from tunesmith.data.feed.grouping import Grouper, GroupExamples, count_micro_batches
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.report.first_look import FirstLook
from tunesmith.train.steps.plan import EpochSize

_MOST_COUNTED = 1_000_000
"""Rows, over all epochs, that are grouped on trial to count steps; beyond, an estimate has to do."""


def size_epochs(order: Order, grouper: Grouper, first: FirstLook, training: TrainingSettings) -> EpochSize:
    """The size of the epochs of `order`."""
    num_rows = order.num_rows(0)
    if isinstance(grouper, GroupExamples):
        samples_per_row = first.usable_share * first.samples_per_row
        rows_per_batch = grouper.size / max(samples_per_row, 1e-9)
        uniform = first.usable_share == first.samples_per_row == 1
    else:
        rows_per_batch, uniform = _mean_rows(grouper, first), False
    counted = first.complete and training.max_steps <= 0
    micro_batches = (
        _count_all(order, grouper, first, num_epochs=math.ceil(training.num_train_epochs)) if counted else None
    )
    return EpochSize(num_rows, rows_per_batch, uniform, micro_batches)


def _count_all(order: Order, grouper: Grouper, first: FirstLook, *, num_epochs: int) -> tuple[int, ...] | None:
    """Micro-batches of every epoch; None where counting them would take long."""
    if (order.num_rows(0) or 0) * num_epochs > _MOST_COUNTED:
        return None
    return tuple(_count(order, grouper, first, epoch) for epoch in range(num_epochs))


def _count(order: Order, grouper: Grouper, first: FirstLook, epoch: int) -> int:
    chunks = order.chunks(FeedPosition(epoch=epoch), size=1024)
    rows = (first.lengths_of(ref) for chunk in chunks for ref in chunk.refs)
    return count_micro_batches(rows, grouper, is_first_epoch=epoch == 0)


def _mean_rows(grouper: Grouper, first: FirstLook) -> float:
    """Rows that a micro-batch uses up, as the first ones do; datasets weigh as much as they have rows."""
    parts = [part for part in first.parts if part.lengths]
    weights = [part.num_rows or 1 for part in parts]
    batches_per_row = sum(
        weight * count_micro_batches(part.lengths.values(), grouper, is_first_epoch=False) / len(part.lengths)
        for part, weight in zip(parts, weights, strict=True)
    )
    return sum(weights) / max(batches_per_row, 1e-9)
