"""The shared nouns of every conversation: parts, messages, tools, and where a row came from.

Knows nothing of files, templates or tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

MediaKind = Literal["image", "video", "audio"]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text as the row has it."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A reference to one image, video or audio clip. Nothing is opened here.

    source: a local path, an http(s) URL, a `data:` URI or `ARCHIVE.tar::MEMBER`; the encoded file itself as bytes; or,
            for a video only, the paths of its frames in order
    """

    kind: MediaKind
    source: str | bytes | tuple[str, ...]

    @property
    def name(self) -> str:
        """What messages call it: the path or URL, its first frame, or its size where it came as bytes."""
        if isinstance(self.source, bytes):
            return f"<{self.kind} of {len(self.source)} bytes>"
        if isinstance(self.source, tuple):
            return f"<{self.kind} of {len(self.source)} frames, the first {self.source[0]}>"
        if self.source.startswith("data:"):
            return f"<{self.kind} in a data: URI of {len(self.source)} characters>"
        return self.source


Part = Text | Media


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: `arguments` is an object, never a JSON string."""

    name: str
    arguments: dict[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `reasoning` and `tool_calls` belong to assistants; `supervised=False` takes a turn out of the loss."""

    role: Role
    parts: tuple[Part, ...]
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    supervised: bool = True

    @property
    def text(self) -> str:
        """The text parts joined, media left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class RowSource:
    """Where a row stands: the file (or dataset name) and the row in it, counted from 0."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One training example: messages in order, and the tools its assistant may call (JSON schemas).

    other_answer: what might stand in place of the last message: the rejected answer of a pair whose chosen one the last
                  message is; for a judged answer (KTO) that of another row
    verdict:      whether the last message was marked good; None where nobody has judged it
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    source: RowSource = field(default_factory=lambda: RowSource("<memory>", 0))
    other_answer: Message | None = None
    verdict: bool | None = None

    @property
    def with_other_answer(self) -> Conversation:
        """The conversation that ends with the other answer, which it must have."""
        assert self.other_answer is not None
        return replace(self, messages=(*self.messages[:-1], self.other_answer), other_answer=None)

    def media(self) -> Iterator[Media]:
        """Every media part, in the order of the messages; those of the other answer left out."""
        for message in self.messages:
            for part in message.parts:
                if isinstance(part, Media):
                    yield part
