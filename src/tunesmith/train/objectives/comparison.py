"""A batch's supervised tokens by the model that learns, beside the model that it is compared with.

Knows nothing of answers' meaning or of losses. Shapes: N supervised tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from tunesmith.data.batches.batch import Answers, Batch
from tunesmith.train.objectives.log_probabilities import TokenLogProbabilities
from tunesmith.train.objectives.reference import Reference


@dataclass(frozen=True, slots=True)
class TokensCompared:
    """Both (N,) in nats, with the policy's graph.

    policy: log-probability of each token
    ratio:  the same less the reference's; of a model that is compared with nothing the same
    """

    policy: Tensor
    ratio: Tensor


@dataclass(slots=True)
class Comparison:
    """One model, compared with the reference or with nothing.

    compares:  whether there is a reference at all
    reference: it; may be None where every batch brings its log-probabilities
    """

    chunk_tokens: int
    compares: bool
    reference: Reference | None
    _log_probabilities: TokenLogProbabilities = field(init=False)

    def __post_init__(self) -> None:
        self._log_probabilities = TokenLogProbabilities(self.chunk_tokens)

    def __call__(self, model: nn.Module, batch: Batch) -> TokensCompared:
        """The batch is on the model's device.

        The reference runs first: what it needs is free again before the graph of the policy is built.
        """
        known = None if batch.answers is None else batch.answers.reference
        if not self.compares:
            policy = self._log_probabilities(model, batch)
            return TokensCompared(policy, policy)
        if known is not None:
            policy = self._log_probabilities(model, batch)
            return TokensCompared(policy, policy - known.to(policy.dtype))
        assert self.reference is not None, "a loss that compares is given a reference, or batches that bring one"
        with self.reference.sharing(model):
            reference = self.reference.log_probabilities(model, batch)
            policy = self._log_probabilities(model, batch)
        return TokensCompared(policy, policy - reference.to(policy.dtype))


def answers_of(batch: Batch) -> Answers:
    """The answers of a batch whose stage compares them."""
    assert batch.answers is not None, "a stage that compares answers is given batches that know theirs"
    return batch.answers
