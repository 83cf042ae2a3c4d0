"""What becomes of a row that is longer than cutoff_len, as `overlong` says. Knows not how a row is encoded."""

from __future__ import annotations

from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.data.encoding.truncate import Cut, Measure, cut_to_fit
from tunesmith.data.problem import RowError


def fit(
    conversation: Conversation,
    *,
    num_tokens: int,
    num_media_tokens: int,
    measure: Measure,
    keep_last: bool,
    data: DataSettings,
) -> Cut:
    """What is kept of a conversation of `num_tokens`, which is too long; the rest as `cut_to_fit` has it.

    Raises RowTooLongError where it is left out, RowError with `overlong: error`.
    """
    length = f"{num_tokens} tokens, cutoff_len is {data.cutoff_len}"
    if data.overlong == "error":
        raise RowError("too long", f"{length}; set overlong: truncate or drop, or a larger cutoff_len")
    if data.overlong == "drop":
        raise RowTooLongError(f"{length} (overlong: drop)")
    cut = cut_to_fit(conversation, limit=data.cutoff_len, measure=measure, keep_last=keep_last)
    if cut is None:
        media = f"; its media alone take {num_media_tokens}" if num_media_tokens else ""
        raise RowTooLongError(f"{length}, and too little of it may be cut{media}")
    return cut
