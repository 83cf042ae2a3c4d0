"""A document as text: no chat template, its media where they stand, the tokenizer's end token behind it.

What a medium's placeholder stands between (`<|vision_start|>` … `<|vision_end|>`) is read off the model's chat template
where it has one. Knows nothing of tokens, and of how long a document may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from tunesmith.chat.content import template_messages
from tunesmith.chat.marks import Span
from tunesmith.chat.message import Conversation, Media, MediaKind, Message, Part, Text
from tunesmith.chat.render import Rendered
from tunesmith.chat.template import ChatTemplate
from tunesmith.errors import DataError

_BEFORE, _BEHIND = "Before", "Behind"
_MARKS_BEFORE = re.compile(r"(?:<[^<>\s]+>)*\Z")
_MARKS_BEHIND = re.compile(r"(?:<[^<>\s]+>)*")


@dataclass(frozen=True, slots=True)
class MediumForm:
    """The text of a medium: its placeholder, and the marks that the model wants around it."""

    placeholder: str
    before: str = ""
    behind: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return self.before + self.placeholder + self.behind


@dataclass(frozen=True, slots=True)
class DocumentForm:
    """What one model's documents have beside the row's own text; begin and end are "" where it has no such token."""

    begin: str = ""
    end: str = ""
    media: Mapping[MediaKind, MediumForm] = field(default_factory=dict)


def render_document(conversation: Conversation, form: DocumentForm) -> Rendered:
    """The document that is the one message of `conversation`: everything supervised but its media.

    Raises DataError for a medium of a kind that `form` lacks, or where there is neither text nor a medium.
    """
    (document,) = conversation.messages
    written, length = [form.begin], len(form.begin)
    media: list[Media] = []
    medium_spans: list[Span] = []
    literal: list[Span] = []
    for part in _joined(document.parts):
        written.append(_medium_text(part, form) if isinstance(part, Media) else part.text)
        span = length, length + len(written[-1])
        if isinstance(part, Media):
            media.append(part)
            medium_spans.append(span)
        else:
            literal.append(span)
        length = span[1]
    if not literal and not media:
        raise DataError("the document is empty")
    text = "".join([*written, form.end])
    supervised = tuple(_between(medium_spans, len(text)))
    return Rendered(text=text, supervised=supervised, literal=tuple(literal), media=tuple(media))


def medium_form(template: ChatTemplate, kind: MediaKind, *, placeholder: str) -> MediumForm:
    """How `template` writes a medium that stands in a text; the bare placeholder where it has no place for one."""
    parts = (Text(_BEFORE), Media(kind, ""), Text(_BEHIND))
    try:
        messages = template_messages(Conversation((Message("user", parts),)), template=template)
        written = template.render(messages)
    except DataError:
        return MediumForm(placeholder)
    between = written.partition(_BEFORE)[2].partition(_BEHIND)[0]
    if between.count(placeholder) != 1:
        return MediumForm(placeholder)
    before, _, behind = between.partition(placeholder)
    return MediumForm(placeholder, _first(_MARKS_BEFORE.search(before)), _first(_MARKS_BEHIND.match(behind)))


def _first(found: re.Match[str] | None) -> str:
    return "" if found is None else found[0]


def _joined(parts: tuple[Part, ...]) -> Iterator[Part]:
    """`parts` with texts that follow one another as one, and empty ones left out."""
    for is_text, run in groupby(parts, lambda part: isinstance(part, Text)):
        if not is_text:
            yield from run
        elif text := "".join(part.text for part in run if isinstance(part, Text)):
            yield Text(text)


def _medium_text(media: Media, form: DocumentForm) -> str:
    if media.kind not in form.media:
        raise DataError(f"the document has {media.name}, but this model takes no {media.kind}")
    return form.media[media.kind].text


def _between(spans: list[Span], length: int) -> Iterator[Span]:
    """The characters 0 … `length` that lie in none of `spans`."""
    position = 0
    for start, end in [*spans, (length, length)]:
        if start > position:
            yield position, start
        position = end
