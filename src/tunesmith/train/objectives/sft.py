"""Supervised fine-tuning and pre-training: cross-entropy over the supervised tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch
from tunesmith.train.objectives.loss import TokenLoss, loss_from_hidden, loss_from_logits
from tunesmith.train.objectives.model_run import Logits, ModelRun
from tunesmith.train.objectives.objective import LossSum, MetricSum, Term


@dataclass(slots=True)
class SupervisedObjective:
    """`chunk_tokens`: supervised positions whose logits exist at a time."""

    chunk_tokens: int
    term: Term = field(default="token", init=False)
    metrics: tuple[str, ...] = field(default=("accuracy",), init=False)
    num_statistics: int = field(default=0, init=False)
    _run: ModelRun = field(default_factory=ModelRun, init=False)

    def num_terms(self, batch: Batch) -> int:
        """Supervised tokens that have a token before them."""
        return batch.num_supervised

    def statistics(self, model: nn.Module, batch: Batch) -> Tensor | None:  # noqa: ARG002  tokens depend on nothing
        """None: every token's loss stands alone."""
        return None

    def loss(self, model: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:  # noqa: ARG002
        """Sum of the cross-entropies of the batch's supervised tokens."""
        loss = self._token_loss(model, batch)
        return LossSum(loss.loss_sum, {"accuracy": MetricSum(loss.num_correct, batch.num_supervised)})

    def _token_loss(self, model: nn.Module, batch: Batch) -> TokenLoss:
        run = self._run(model, batch)
        if isinstance(run, Logits):
            return loss_from_logits(run.logits, batch.positions, batch.targets, chunk_tokens=self.chunk_tokens)
        return loss_from_hidden(
            run.states, batch.positions, batch.targets, head=run.head, chunk_tokens=self.chunk_tokens
        )
