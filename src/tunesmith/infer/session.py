"""A chat in progress: the conversation so far, what goes with the next message, and how answers are sampled.

Knows nothing of terminals; `console` drives it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.chat.message import Conversation, Media, MediaKind, Message, RowSource, Text
from tunesmith.errors import UsageError
from tunesmith.infer.attachment import open_attachment
from tunesmith.infer.engine import Engine, SamplingOptions

_WORDS: dict[MediaKind, str] = {"image": "images", "video": "videos", "audio": "audio"}
_MODELS: dict[MediaKind, str] = {
    "image": "choose a vision-language model",
    "video": "choose a model that sees videos",
    "audio": "choose a model that hears",
}


@dataclass(slots=True)
class ChatSession:
    """One conversation with `engine`. Answers are reproducible: the n-th answer is drawn from `seed` + n."""

    engine: Engine
    options: SamplingOptions
    system: str | None = None
    seed: int | None = None
    messages: tuple[Message, ...] = ()
    attached: tuple[Media, ...] = ()
    _num_answers: int = field(default=0, init=False)

    @property
    def conversation(self) -> Conversation:
        """The system message, if there is one, and every turn so far."""
        system = (Message(role="system", parts=(Text(self.system),)),) if self.system else ()
        return Conversation(messages=system + self.messages, source=RowSource("<chat>", 0))

    def attach(self, path: str | Path, *, kind: MediaKind = "image") -> str:
        """Put a file before the next message; returns what it is. Raises UsageError if model or file cannot."""
        if not self.engine.accepts(kind):
            raise UsageError(
                f"{kind} {path}: this model, or its chat template, takes {self._accepted()}; {_MODELS[kind]}"
            )
        media, description = open_attachment(path, kind)
        self.attached += (media,)
        return description

    def say(self, text: str) -> Generator[str]:
        """Add a user message, attached media first, and yield its answer in pieces.

        What was streamed is kept as the assistant's turn, also where the caller stops early. If nothing came (an
        error, or stopped at once) the user's message is taken back, media attached again.
        """
        before, attached = self.messages, self.attached
        self.messages += (Message(role="user", parts=(*attached, Text(text))),)
        self.attached = ()
        pieces: list[str] = []
        finished = False
        try:
            with closing(self._stream()) as stream:
                for piece in stream:
                    pieces.append(piece)
                    yield piece
            finished = True
        finally:
            self._close_turn("".join(pieces), finished=finished, before=before, attached=attached)

    def clear(self) -> None:
        """Forget every turn and attached file; the system message stays."""
        self.messages, self.attached = (), ()

    def _accepted(self) -> str:
        """`text only`, `text, images`, …"""
        taken = [word for kind, word in _WORDS.items() if self.engine.accepts(kind)]
        return ", ".join(["text", *taken]) if taken else "text only"

    def _stream(self) -> Generator[str]:
        seed = None if self.seed is None else self.seed + self._num_answers
        self._num_answers += 1
        return self.engine.stream(self.conversation, self.options, seed=seed)

    def _close_turn(
        self, answer: str, *, finished: bool, before: tuple[Message, ...], attached: tuple[Media, ...]
    ) -> None:
        if answer or finished:
            self.messages += (Message(role="assistant", parts=(Text(answer),)),)
        else:
            self.messages, self.attached = before, attached
