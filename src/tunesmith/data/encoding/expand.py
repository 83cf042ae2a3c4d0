"""Rendered text with a placeholder per medium → the text the processor would tokenise, with every span moved along.

Pure once it has the processor's replacements. Knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.chat.message import MediaKind
from tunesmith.chat.render import Rendered
from tunesmith.data.encoding.expansion import Replacements, replacements_in
from tunesmith.data.encoding.media_shape import Shape
from tunesmith.data.encoding.spans import Span, overlaps, shift_spans
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class Expanded:
    """Text ready for the tokenizer. Spans are in its characters; `media` holds one per medium, in order."""

    text: str
    supervised: tuple[Span, ...]
    literal: tuple[Span, ...]
    media: tuple[Span, ...]


class Expander:
    """Expands the placeholders of one model's processor. With `whole_rows` every row is a full call of it."""

    def __init__(self, preprocessor: Preprocessor, *, whole_rows: bool = False) -> None:
        self._preprocessor = preprocessor
        self._replacements = Replacements(preprocessor)
        self.whole_rows = whole_rows

    def expand(self, rendered: Rendered, *, shapes: Sequence[Shape]) -> Expanded:
        """`shapes`: one for each of the rendered media, as the processor will get them.

        Raises DataError if the model does not take a kind, the template writes other placeholders than there are
        media, or the processor refuses a medium.
        """
        if not rendered.media:
            return Expanded(rendered.text, rendered.supervised, rendered.literal, ())
        placeholders = self._find_placeholders(rendered)
        texts = self._texts(rendered.text, placeholders, shapes)
        moved = [
            shift_spans(spans, replaced=placeholders, texts=texts)
            for spans in (rendered.supervised, rendered.literal, placeholders)
        ]
        return Expanded(_replace(rendered.text, placeholders, texts), *moved)

    def media_texts(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        """What stands for each medium of a row that has no others. Raises DataError if the processor refuses one."""
        return self._replacements(shapes)

    def _find_placeholders(self, rendered: Rendered) -> list[Span]:
        """Where the template wrote the placeholders of the media, each of its medium's kind."""
        tokens = {media.kind: self._preprocessor.placeholder(media.kind) for media in rendered.media}
        found = _find_outside(rendered.text, tuple(tokens.values()), rendered.literal)
        for kind, token in tokens.items():
            num_media = sum(media.kind == kind for media in rendered.media)
            num_found = sum(rendered.text[slice(*span)] == token for span in found)
            if num_found != num_media:
                raise DataError(_mismatch(kind, token, num_found=num_found, num_media=num_media))
        if [rendered.text[slice(*span)] for span in found] != [tokens[media.kind] for media in rendered.media]:
            raise DataError(
                "the chat template writes the placeholders in another order than the row has its media; set "
                "`template:` to one that is made for this model, or leave it out to take the model's own"
            )
        return found

    def _texts(self, text: str, placeholders: Sequence[Span], shapes: Sequence[Shape]) -> tuple[str, ...]:
        if not self.whole_rows:
            return self._replacements(shapes)
        edges = [0, *(edge for span in placeholders for edge in span), len(text)]
        pieces = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        for token in {text[slice(*span)] for span in placeholders}:
            # A placeholder that the row itself spells must not count as one: letters of the same length stand in.
            pieces = [piece.replace(token, "x" * len(token)) for piece in pieces]
        return replacements_in(self._preprocessor, pieces=pieces, shapes=shapes)


def _mismatch(kind: MediaKind, token: str, *, num_found: int, num_media: int) -> str:
    return (
        f"the chat template writes {num_found} {kind} placeholder(s) ({token}) for {num_media} {kind}(s); set "
        "`template:` to one that is made for this model, or leave it out to take the model's own"
    )


def _find_outside(text: str, tokens: Sequence[str], literal: Sequence[Span]) -> list[Span]:
    """Where one of `tokens` stands in `text` without touching a character of `literal`."""
    pattern = "|".join(re.escape(token) for token in tokens)
    spans = (found.span() for found in re.finditer(pattern, text))
    return [span for span in spans if not overlaps(span, literal)]


def _replace(text: str, spans: Sequence[Span], texts: Sequence[str]) -> str:
    pieces, position = [], 0
    for (start, end), replacement in zip(spans, texts, strict=True):
        pieces += [text[position:start], replacement]
        position = end
    return "".join([*pieces, text[position:]])
