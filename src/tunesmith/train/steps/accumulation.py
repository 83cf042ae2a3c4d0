"""The gradients of one step: its micro-batches run forward and backward, in portions that fit into memory.

A problem of one process (a row that does not fit, media that are gone) is kept and not raised, because the others are
waiting for the sums that follow: all then hear of it at once. Knows nothing of the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import TunesmithError
from tunesmith.train.objectives.objective import LossSum
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.out_of_memory import give_back_memory
from tunesmith.train.steps.portions import Portion, Splitter, align_portions


@dataclass(slots=True)
class Accumulation:
    """Adds up the gradients of one step.

    num_terms: of the whole step, over all processes
    forget:    drops every gradient
    seed:      called with the index of each micro-batch before it runs
    ran:       the portions that were run, with their losses, which have no graph
    means:     what the losses depend on over the whole step, None where on nothing
    problem:   why this process cannot take the step
    """

    forward: Forward
    parallel: Parallel
    scaler: torch.amp.GradScaler
    splitter: Splitter
    num_terms: int
    forget: Callable[[], None]
    seed: Callable[[int], None] | None = None
    ran: list[tuple[Batch, LossSum]] = field(default_factory=list, init=False)
    means: Tensor | None = field(default=None, init=False)
    problem: TunesmithError | None = field(default=None, init=False)

    def run(self, batches: Sequence[Batch]) -> None:
        """Run every micro-batch of this process. For all processes together.

        Raises in lockstep, where the others cannot be waited for, what is kept as `problem` elsewhere.
        """
        self.forget()
        portions: list[Portion] = []
        with self._keeping_a_problem():
            portions = self.splitter.portions(batches)
        if self.parallel.lockstep and self.splitter.fits.sizes:
            portions = align_portions(portions, len(batches), self.parallel)
        self._find_means(portions)
        if self.problem is not None:
            return
        with self._keeping_a_problem():
            self.splitter.run_each(portions, self._add, again=self._begin_anew)

    def _find_means(self, portions: list[Portion]) -> None:
        num_statistics = self.forward.objective.num_statistics
        if not num_statistics:
            return
        total = torch.zeros(num_statistics, dtype=torch.float64, device=self.forward.device)

        def add(portion: Portion, last: bool) -> None:  # noqa: ARG001  nothing is summed over processes yet
            if self._runs(portion.batch):
                part = self.forward.statistics(portion.batch)
                assert part is not None, "an objective with statistics has them for every batch"
                total.add_(part)

        def begin_anew() -> None:
            total.zero_()
            give_back_memory(self.forward.device)

        with self._keeping_a_problem():
            self.splitter.run_each(portions, add, again=begin_anew)
        self.means = self.parallel.sum(total) / self.num_terms

    def _add(self, portion: Portion, last: bool) -> None:
        """The gradients and the loss of one portion."""
        if portion.begins and self.seed is not None:
            self.seed(portion.index)
        if not self._runs(portion.batch):
            return
        loss = self.forward.loss(portion.batch, means=self.means)
        self.parallel.backward(self.scaler.scale(loss.loss_sum / self.num_terms), last=last)
        self.ran.append((portion.batch, replace(loss, loss_sum=loss.loss_sum.detach())))

    def _begin_anew(self) -> None:
        self.ran.clear()
        self.forget()
        give_back_memory(self.forward.device)

    def _runs(self, batch: Batch) -> bool:
        """What has no terms is left out, unless the others would wait for it."""
        return self.parallel.lockstep or self.forward.num_terms(batch) > 0

    @contextmanager
    def _keeping_a_problem(self) -> Iterator[None]:
        """Inside, a problem is kept; nothing more is run then."""
        try:
            yield
        except TunesmithError as error:
            if self.parallel.lockstep:
                raise
            self.problem = error
