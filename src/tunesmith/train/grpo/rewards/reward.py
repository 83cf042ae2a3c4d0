"""The reward contract: drawn answers in, a number each out. Knows nothing of TRL and of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.chat.message import Conversation


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """One answer that the model gave to a row's prompt.

    conversation: the row up to where the model answers
    prompt:       the same as text, as the chat template writes it
    text:         the answer without its end-of-turn token; with the opening tag of a thought that the prompt began
    ids:          its tokens
    reference:    the answer that the row gives, None where it gives none
    row:          all columns of the row
    """

    conversation: Conversation
    prompt: str
    text: str
    ids: tuple[int, ...] = ()
    reference: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)


class Reward(Protocol):
    """One kind of reward."""

    @property
    def name(self) -> str:
        """What metrics and samples call it."""

    @property
    def needs_reference(self) -> bool:
        """Whether it scores nothing where a row gives no answer."""

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """A number for each answer, None where it does not apply.

        Raises UsageError where it cannot be computed.
        """
