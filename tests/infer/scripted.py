"""An engine that says what it is told: for tests of what stands around an engine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from tunesmith.chat.message import Conversation, MediaKind
from tunesmith.infer.engine import SamplingOptions


@dataclass
class ScriptedEngine:
    """Gives `answers` in turn, a word at a time; an exception in their place is raised after its first word."""

    answers: Sequence[str | BaseException]
    sees: bool = True
    kinds: Sequence[MediaKind] = ("image",)
    asked: list[Conversation] = field(default_factory=list)
    seeds: list[int | None] = field(default_factory=list)

    def stream(
        self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None
    ) -> Generator[str]:
        answer = self.answers[len(self.asked)]
        self.asked.append(conversation)
        self.seeds.append(seed)
        if isinstance(answer, BaseException):
            yield "half"
            raise answer
        yield from (word + " " for word in answer.split())

    def answer(self, conversation: Conversation, options: SamplingOptions, *, seed: int | None = None) -> str:
        return "".join(self.stream(conversation, options, seed=seed))

    def accepts(self, kind: MediaKind) -> bool:
        return self.sees and kind in self.kinds
