"""Losses and metrics of several batches, added up and read in one transfer."""

from __future__ import annotations

import torch

from tunesmith.train.objectives.objective import LossSum, MetricSum
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.means import Mean, add_over_processes

NAMES = ("accuracy", "kl", "rewards/chosen", "rewards/rejected")


def add(losses, names=NAMES):
    return add_over_processes(SingleProcess(), losses, names=names, norm=torch.tensor(7.0))


def test_totals_counts_and_the_norm():
    one = LossSum(torch.tensor(2.5), {"accuracy": MetricSum(torch.tensor(3), 4)})
    other = LossSum(
        torch.tensor(1.0), {"accuracy": MetricSum(torch.tensor(1), 6), "kl": MetricSum(torch.tensor(0.5), 1)}
    )
    totals = add([one, other], names=("accuracy", "kl"))
    assert totals.loss_sum == 3.5
    assert totals.metrics == {"accuracy": Mean(4.0, 10), "kl": Mean(0.5, 1)}
    assert totals.norm == 7.0


def test_counts_may_lie_on_the_device_like_the_totals():
    """How many answers of a batch were marked good is not known before it is there."""
    metrics = {
        "rewards/chosen": MetricSum(torch.tensor(1.5), torch.tensor(3)),
        "kl": MetricSum(torch.tensor(2.0), 4),
        "rewards/rejected": MetricSum(torch.tensor(0.0), torch.tensor(0)),
    }
    totals = add([LossSum(torch.tensor(1.0), metrics)] * 2)
    assert totals.metrics == {
        "accuracy": Mean(0.0, 0),
        "kl": Mean(4.0, 8),
        "rewards/chosen": Mean(3.0, 6),
        "rewards/rejected": Mean(0.0, 0),
    }
    assert totals.metrics["rewards/rejected"].value is None


def test_a_process_without_a_micro_batch_adds_nothing():
    assert add([], names=("accuracy",)).metrics == {"accuracy": Mean(0.0, 0)}
    assert add([]).loss_sum == 0.0
