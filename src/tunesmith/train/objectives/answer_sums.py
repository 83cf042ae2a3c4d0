"""From the log-probabilities of a batch's supervised tokens to one number an answer.

Sums are made of a table with a row for each answer, not by adding into (A,): on a GPU that adds in another order each
time, and a resumed run would drift from the one that was never stopped. Knows nothing of losses or models.
Shapes: N supervised tokens, A answers, L tokens of the longest answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tunesmith.data.batches.batch import Answers


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """Where each supervised token stands in a table of answers.

    owner:      (N,) int64, its answer
    place:      (N,) int64, which token of the answer it is, from 0
    num_tokens: (A,) int64, of each answer
    longest:    L
    """

    owner: Tensor
    place: Tensor
    num_tokens: Tensor
    longest: int

    @classmethod
    def of(cls, answers: Answers) -> AnswerTable:
        """The table of a batch, on the batch's device and without waiting for it."""
        owner = answers.owner
        num_tokens = torch.zeros(len(answers.num_tokens), dtype=torch.int64, device=owner.device)
        num_tokens = num_tokens.index_add(0, owner, torch.ones_like(owner))
        starts = num_tokens.cumsum(0) - num_tokens
        place = torch.arange(len(owner), device=owner.device) - starts[owner]
        return cls(owner, place, num_tokens, max(answers.num_tokens, default=0))

    def sums(self, values_N: Tensor, weights_AL: Tensor | None = None) -> Tensor:
        """(A,) sums of the values of each answer's tokens, with the graph; each first multiplied by its weight."""
        table_AL = values_N.new_zeros(len(self.num_tokens), self.longest)
        table_AL = table_AL.index_put((self.owner, self.place), values_N)
        return (table_AL if weights_AL is None else table_AL * weights_AL).sum(1)

    def weights_beyond_the_other(self, alpha: float, *, dtype: torch.dtype) -> Tensor:
        """(A, L): `alpha` for the tokens of an answer beyond the length of the other one of its pair, else 1.

        For answers in pairs, those of one pair behind each other (LD-DPO, arXiv 2409.06411).
        """
        shared_A = self.num_tokens.view(-1, 2).amin(1).repeat_interleave(2)
        columns_L = torch.arange(self.longest, device=self.owner.device)
        weights_AL = torch.ones(len(shared_A), self.longest, dtype=dtype, device=self.owner.device)
        return weights_AL.masked_fill(columns_L[None] >= shared_A[:, None], alpha)
