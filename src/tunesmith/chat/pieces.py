"""The stretches of a row's strings between which templates may cut: an answer falls apart at its thought tags.

Knows `<think>` and `</think>`, and which of them are the language of a thinking model rather than text that talks
about them. Knows nothing of templates or of rendered text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith.chat.content import SlotKind

THOUGHT_TAG = re.compile(r"</?think>")
_BLOCK = re.compile(r"\s*(<think>).*?(</think>)", re.DOTALL)
_BARE_CLOSE = re.compile(r"(?:\A|\n)(</think>)(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch [start, end) of a row's string, outer whitespace left out, and the markers drawn for it.

    message:    index of the message, -1 for tool schemas
    is_thought: the stretch ends at `</think>`, so that templates may leave it out of old turns
    """

    message: int
    kind: SlotKind
    text: str
    start: int
    end: int
    is_thought: bool
    opening: str
    closing: str

    @property
    def core(self) -> str:
        """The stretch itself."""
        return self.text[self.start : self.end]


def stretches(text: str, *, splits: bool) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is_thought) of every non-blank stretch of `text`; one only, unless it `splits` at thought tags."""
    tags = list(THOUGHT_TAG.finditer(text)) if splits else []
    begin = 0
    for tag in [*tags, None]:
        stop = tag.start() if tag else len(text)
        stretch = text[begin:stop]
        core = stretch.strip()
        if core:
            start = begin + len(stretch) - len(stretch.lstrip())
            yield start, start + len(core), tag is not None and tag.group() == "</think>"
        begin = tag.end() if tag else stop


def language_tags(text: str) -> frozenset[int]:
    """Offsets of the tags around the thoughts an answer opens with; any other tag in it is text.

    A `</think>` on a line of its own without `<think>` closes thoughts that the prompt opened.
    """
    if block := _BLOCK.match(text):
        return frozenset({block.start(1), block.start(2)})
    if "<think>" not in text and (close := _BARE_CLOSE.search(text)):
        return frozenset({close.start(1)})
    return frozenset()


def text_tags_after(piece: Piece) -> int:
    """How far past the end of `piece` its string goes on with thought tags that are text."""
    language, reach = language_tags(piece.text), piece.end
    for tag in THOUGHT_TAG.finditer(piece.text, piece.end):
        if tag.start() in language or piece.text[reach : tag.start()].strip():
            break
        reach = tag.end()
    return reach - piece.end


def text_tags_before(piece: Piece) -> int:
    """How far before the start of `piece` its string has thought tags that are text."""
    language, reach = language_tags(piece.text), piece.start
    for tag in reversed(list(THOUGHT_TAG.finditer(piece.text, 0, piece.start))):
        if tag.start() in language or piece.text[tag.end() : reach].strip():
            break
        reach = tag.start()
    return piece.start - reach
