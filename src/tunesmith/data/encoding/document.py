"""A document → ids that are all in the loss but for its media, in pieces of at most cutoff_len tokens.

Nothing of a document is cut away: what one sample does not hold goes on in the next. Knows nothing of other rows, with
which the pieces are packed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tunesmith.chat.document import DocumentForm, render_document
from tunesmith.chat.message import Conversation, Media
from tunesmith.chat.render import Rendered
from tunesmith.config.data import DataSettings
from tunesmith.data.encoding.document_pieces import split_tokens
from tunesmith.data.encoding.encoded import IGNORED, Piece
from tunesmith.data.encoding.spans import Span
from tunesmith.data.encoding.steps import EncodingSteps, Steps
from tunesmith.data.encoding.trace import RowTooLongError, Trace
from tunesmith.data.problem import RowError

_NUMBER = re.compile(r"\d+")


def trace_document(
    conversation: Conversation, *, steps: EncodingSteps, form: DocumentForm, data: DataSettings
) -> Trace:
    """Every token but those of media is in the loss; `encoded.pieces` says where a long document is cut.

    Raises RowTooLongError where it is left out for its length, RowError where it cannot be used.
    """

    def render(document: Conversation) -> Rendered:
        return render_document(document, form)

    probe = steps.probe()
    taken = steps.take(conversation, render=render, probe=probe)
    _require_length(len(taken.tokens), data)
    pieces = split_tokens(len(taken.tokens), media=_tokens_of_media(taken, form), limit=data.cutoff_len)
    _require_alike(taken, pieces, lambda media: steps.media_texts(media, probe=probe))
    encoded = steps.encoded(taken, truncated=False)
    encoded = replace(encoded, pieces=pieces, num_media_tokens=int((encoded.labels == IGNORED).sum()))
    if not encoded.num_supervised:
        raise RowError("nothing to learn", "no token of the document's text has one before it that could predict it")
    return taken.traced(encoded, None)


def _require_length(num_tokens: int, data: DataSettings) -> None:
    """Raise where a document that must be cut into pieces is not wanted; `overlong: truncate` wants it."""
    if num_tokens <= data.cutoff_len or data.overlong == "truncate":
        return
    length = f"{num_tokens} tokens, cutoff_len is {data.cutoff_len}"
    if data.overlong == "drop":
        raise RowTooLongError(f"{length} (overlong: drop)")
    raise RowError("too long", f"{length}; set overlong: truncate, which cuts documents into samples, or drop")


def _require_alike(steps: Steps, pieces: Sequence[Piece], texts_of: Callable[[Sequence[Media]], Sequence[str]]) -> None:
    """Raise RowError where the processor would write the media of a piece otherwise than in the whole document.

    The numbers that some models give media do not count: they are text, and stay what they are in the document.
    """
    media, first = steps.rendered.media, 0
    written = [steps.expanded.text[start:end] for start, end in steps.expanded.media]
    for piece in pieces:
        chosen = slice(first, first + piece.num_media)
        first += piece.num_media
        if [*map(_unnumbered, texts_of(media[chosen]))] != [*map(_unnumbered, written[chosen])]:
            raise RowError(
                "media do not fit",
                "this model reads one medium otherwise than several, so the document cannot be cut between its media; "
                f"set cutoff_len to its {len(steps.tokens)} tokens or more, or give it fewer media",
            )


def _unnumbered(text: str) -> str:
    return _NUMBER.sub("", text)


def _tokens_of_media(steps: Steps, form: DocumentForm) -> list[Span]:
    """The tokens of each medium, the marks around it included."""
    expanded, offsets = steps.expanded, steps.tokens.offsets
    spans = []
    for media, (start, end) in zip(steps.rendered.media, expanded.media, strict=True):
        written = form.media[media.kind]
        first = np.searchsorted(offsets[:, 1], start - len(written.before), side="right")
        behind = np.searchsorted(offsets[:, 0], end + len(written.behind), side="left")
        spans.append((int(first), int(behind)))
    return spans
