"""What came of one row after every step, and how a row is refused for its length. Knows not how either comes about."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.chat.message import Conversation
from tunesmith.chat.render import Rendered
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.expand import Expanded
from tunesmith.data.encoding.tokenize import Tokens
from tunesmith.data.encoding.truncate import Cut
from tunesmith.data.problem import RowError


class RowTooLongError(RowError):
    """A row that does not fit cutoff_len, and is left out rather than cut."""

    KIND = "dropped as too long"

    def __init__(self, detail: str) -> None:
        super().__init__(self.KIND, detail)


@dataclass(frozen=True, slots=True)
class Trace:
    """One example after every step. `cut` tells what was lost to cutoff_len, None if nothing was.

    answers: of a row with several answers each as a row of its own; the steps above are then those of the first, and
             `encoded` is all of it
    """

    conversation: Conversation
    rendered: Rendered
    expanded: Expanded
    tokens: Tokens
    encoded: Encoded
    cut: Cut | None
    answers: tuple[Trace, ...] = ()
