"""The engine contract: what turns a conversation into its next answer.

Knows no backend; `transformers_engine` is the one there is, a vLLM engine will be another.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from tunesmith.chat.message import Conversation, MediaKind
from tunesmith.config.generation import GenerationSettings

SamplingOptions = GenerationSettings
"""How an answer is sampled: the generation section of the settings."""


class Engine(Protocol):
    """Answers conversations, one at a time. An answer never holds the end-of-turn token."""

    def stream(
        self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None
    ) -> Generator[str]:
        """Pieces of the answer as they appear; joined they are the answer. Closing the iterator stops it.

        With a seed the same call gives the same answer and leaves the random state as it was.
        """
        ...

    def answer(self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None) -> str:
        """The whole answer at once."""
        ...

    def accepts(self, kind: MediaKind) -> bool:
        """Whether a message may hold media of this kind."""
        ...
