"""Rendered text with a placeholder per image → the text the processor would tokenise, with every span moved along.

Pure once it has the processor's replacements. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.chat.render import Rendered
from tunesmith.data.expansion import Replacements, Size, replacements_in
from tunesmith.data.spans import Span, overlaps, shift_spans
from tunesmith.errors import DataError
from tunesmith.models.processor import Preprocessor


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
        self._processor: Any = preprocessor.processor
        self._replacements: Replacements | None = None
        self.whole_rows = whole_rows

    def expand(self, rendered: Rendered, *, sizes: Sequence[Size]) -> Expanded:
        """`sizes`: one (width, height) for each of the rendered media, as the processor will get them.

        Raises DataError if the model takes no images, the template writes another number of placeholders than there
        are images, or the processor refuses a size.
        """
        if not rendered.media:
            return Expanded(rendered.text, rendered.supervised, rendered.literal, ())
        placeholders = self._find_placeholders(rendered)
        texts = self._texts(rendered.text, placeholders, sizes)
        moved = [
            shift_spans(spans, replaced=placeholders, texts=texts)
            for spans in (rendered.supervised, rendered.literal, placeholders)
        ]
        return Expanded(_replace(rendered.text, placeholders, texts), *moved)

    def _find_placeholders(self, rendered: Rendered) -> list[Span]:
        if self._processor is None or not hasattr(self._processor, "image_token"):
            raise DataError(
                f"the row has {len(rendered.media)} image(s), but this model has no image processor; "
                "take a vision-language model, or rows of text only"
            )
        token = str(self._processor.image_token)
        found = _find_outside(rendered.text, token, rendered.literal)
        if len(found) != len(rendered.media):
            raise DataError(
                f"the chat template writes {len(found)} image placeholder(s) ({token}) for {len(rendered.media)} "
                "image(s); set `template:` to one that is made for this model, or leave it out to take the model's own"
            )
        return found

    def _texts(self, text: str, placeholders: Sequence[Span], sizes: Sequence[Size]) -> tuple[str, ...]:
        if self.whole_rows:
            edges = [0, *(edge for span in placeholders for edge in span), len(text)]
            token = str(self._processor.image_token)
            pieces = [
                # A placeholder that the row itself spells must not count as one: letters of the same length stand in.
                text[start:end].replace(token, "x" * len(token))
                for start, end in zip(edges[::2], edges[1::2], strict=True)
            ]
            return replacements_in(self._processor, pieces=pieces, sizes=sizes)
        if self._replacements is None:
            self._replacements = Replacements(self._processor)
        return self._replacements(sizes)


def _find_outside(text: str, token: str, literal: Sequence[Span]) -> list[Span]:
    """Where `token` stands in `text` without touching a character of `literal`."""
    found, start = [], text.find(token)
    while start >= 0:
        end = start + len(token)
        if not overlaps((start, end), literal):
            found.append((start, end))
        start = text.find(token, end)
    return found


def _replace(text: str, spans: Sequence[Span], texts: Sequence[str]) -> str:
    pieces, position = [], 0
    for (start, end), replacement in zip(spans, texts, strict=True):
        pieces += [text[position:start], replacement]
        position = end
    return "".join([*pieces, text[position:]])
