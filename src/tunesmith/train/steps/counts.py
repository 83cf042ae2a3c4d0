"""What a step has over all processes, known before it runs, and what they must agree on: one message a step.

Objects are handed round only where some process has something to tell. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import TunesmithError
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.forward import Forward


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Over the step's micro-batches and all processes.

    terms:      what the loss is a mean over
    supervised: tokens in the loss
    tokens:     all without padding; positions: with it
    stops:      processes that were asked to stop
    troubled:   processes that cannot take the step
    lost:       samples that could not be made
    """

    terms: int
    supervised: int
    tokens: int
    positions: int
    stops: int = 0
    troubled: int = 0
    lost: int = 0


def count_together(
    parallel: Parallel,
    forward: Forward,
    batches: Sequence[Batch],
    *,
    stops: bool = False,
    problem: TunesmithError | None = None,
    num_lost: int = 0,
) -> StepCounts:
    """The counts of one step. For all processes together.

    Raises the problem that some process has, in all of them: that of the lowest rank.
    """
    own = [
        sum(forward.num_terms(batch) for batch in batches),
        sum(batch.num_supervised for batch in batches if not batch.is_filler),
        sum(batch.num_tokens for batch in batches),
        sum(batch.labels.numel() for batch in batches if not batch.is_filler),
        int(stops),
        int(problem is not None),
        num_lost,
    ]
    counts = StepCounts(*map(int, parallel.sum(torch.tensor(own, dtype=torch.int64)).tolist()))
    if counts.troubled:
        problems = [found for found in parallel.gather(problem) if found is not None]
        raise problem or problems[0]
    return counts
