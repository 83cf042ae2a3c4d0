"""Losses and metrics of several batches, read in one transfer."""

from __future__ import annotations

import torch

from tunesmith.train.objectives.objective import LossSum, MetricSum
from tunesmith.train.steps.means import Mean, read_together


def test_totals_counts_and_whatever_else_is_asked_for():
    one = LossSum(torch.tensor(2.5), {"accuracy": MetricSum(torch.tensor(3), 4)})
    other = LossSum(
        torch.tensor(1.0), {"accuracy": MetricSum(torch.tensor(1), 6), "kl": MetricSum(torch.tensor(0.5), 1)}
    )
    read = read_together([one, other], torch.tensor(7.0))
    assert read.losses == (2.5, 1.0)
    assert read.metrics == {"accuracy": Mean(4.0, 10), "kl": Mean(0.5, 1)}
    assert read.others == (7.0,)


def test_counts_may_lie_on_the_device_like_the_totals():
    """How many answers of a batch were marked good is not known before it is there."""
    metrics = {
        "rewards/chosen": MetricSum(torch.tensor(1.5), torch.tensor(3)),
        "kl": MetricSum(torch.tensor(2.0), 4),
        "rewards/rejected": MetricSum(torch.tensor(0.0), torch.tensor(0)),
    }
    read = read_together([LossSum(torch.tensor(1.0), metrics)] * 2)
    assert read.metrics == {"rewards/chosen": Mean(3.0, 6), "kl": Mean(4.0, 8), "rewards/rejected": Mean(0.0, 0)}
    assert read.metrics["rewards/rejected"].value is None
