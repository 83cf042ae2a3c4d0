"""Loss and metrics on held-out rows, leaving the training as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tunesmith.data.batches.batch import Batch
from tunesmith.errors import TunesmithError
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.objectives.objective import LossSum, Term
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.parallel.single import SingleProcess
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.means import add_over_processes
from tunesmith.train.steps.out_of_memory import give_back_memory
from tunesmith.train.steps.portions import Halving, Portion, Splitter, align_portions
from tunesmith.train.steps.refusal import share


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over all rows; NaN where there is nothing to take them of.

    metrics:   of the objective, by name
    num_terms: how many tokens, pairs or answers the loss is a mean over
    halvings:  batches that did not fit into memory, of all processes
    """

    loss: float
    term: Term
    num_terms: int
    supervised_tokens: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    halvings: tuple[Halving, ...] = ()

    def numbers(self) -> dict[str, float]:
        """`loss`, `perplexity` of a loss per token, the metrics, and `supervised_tokens`, in this order."""
        perplexity = {"perplexity": _exp(self.loss)} if self.term == "token" else {}
        return {"loss": self.loss, **perplexity, **self.metrics, "supervised_tokens": self.supervised_tokens}


def evaluate(
    forward: Forward,
    batches: Iterable[Batch],
    parallel: Parallel | None = None,
    splitter: Splitter | None = None,
) -> Evaluation:
    """Evaluate the model on `batches`, in evaluation mode, without gradients; modes are afterwards as before.

    With several processes each gives the batches that are its own, and all get the evaluation of all. What a loss needs
    as a mean over a step (the KL of KTO) is a mean over the batch here. Batches that do not fit into memory are split.

    Raises StepRefusedError, in every process, where one sample does not fit.
    """
    parallel = parallel or SingleProcess()
    splitter = splitter or Splitter()
    objective = forward.objective
    losses: list[LossSum] = []
    num_terms = num_supervised = 0
    problem: TunesmithError | None = None
    with evaluation_mode(forward.model), torch.no_grad():
        for batch in batches:
            terms = forward.num_terms(batch)
            if terms or parallel.lockstep:
                try:
                    losses += _losses(forward, splitter, batch, parallel)
                except TunesmithError as error:
                    if parallel.lockstep:
                        raise
                    problem = error
                    break
                num_terms += terms
                num_supervised += batch.num_supervised if terms else 0
    num_terms, num_supervised, telling = parallel.sum(
        torch.tensor([num_terms, num_supervised, int(problem is not None or bool(splitter.halvings))])
    ).tolist()
    halvings = share(parallel, splitter, problem) if telling else ()
    if not num_terms:
        return Evaluation(math.nan, objective.term, 0, 0, dict.fromkeys(objective.metrics, math.nan), halvings)
    # the numbers stay on the device until here, so that no batch waits for the one before it
    norm = torch.zeros((), device=forward.device)
    totals = add_over_processes(parallel, losses, names=objective.metrics, norm=norm)
    metrics = {name: math.nan if mean.value is None else mean.value for name, mean in totals.metrics.items()}
    return Evaluation(totals.loss_sum / num_terms, objective.term, num_terms, num_supervised, metrics, halvings)


def _losses(forward: Forward, splitter: Splitter, batch: Batch, parallel: Parallel) -> list[LossSum]:
    """The losses of a batch, in as many portions as memory makes necessary."""
    portions = splitter.portions([batch])
    if parallel.lockstep and splitter.fits.sizes:
        portions = align_portions(portions, 1, parallel)
    statistics: list[Tensor] = []
    losses: list[LossSum] = []

    def begin_anew() -> None:
        statistics.clear()
        losses.clear()
        give_back_memory(forward.device)

    def add_statistics(portion: Portion, last: bool) -> None:  # noqa: ARG001
        found = forward.statistics(portion.batch)
        if found is not None:
            statistics.append(found)

    splitter.run_each(portions, add_statistics, again=begin_anew)
    means = torch.stack(statistics).sum(0) / max(forward.num_terms(batch), 1) if statistics else None

    def add_loss(portion: Portion, last: bool) -> None:  # noqa: ARG001
        if parallel.lockstep or forward.num_terms(portion.batch):
            losses.append(forward.loss(portion.batch, means=means))

    splitter.run_each(portions, add_loss, again=begin_anew)
    return losses


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
