"""Which supervised tokens of a batch are which answer's. Knows nothing of what answers are compared for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tunesmith.data.batches.batch import Answers
from tunesmith.data.encoding.encoded import IGNORED


def find_answers(labels: Tensor, *, ends: Sequence[int], verdicts: Sequence[bool] | None = None) -> Answers:
    """The answers of a batch with these labels (B, T), every supervised token of which is in one.

    ends: the flat position of each answer's last token, in order; verdicts: whether each was marked good
    """
    supervised_at = torch.nonzero(labels.flatten() != IGNORED)[:, 0]
    last = torch.tensor(ends, dtype=torch.int64)
    owner = torch.searchsorted(last, supervised_at)  # the first answer that does not end before the token
    return Answers(
        owner=owner,
        ends=last,
        num_tokens=tuple(torch.bincount(owner, minlength=len(ends)).tolist()),
        verdicts=None if verdicts is None else torch.tensor(verdicts, dtype=torch.bool),
    )
