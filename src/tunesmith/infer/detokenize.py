"""Token ids to text while they arrive: a character is shown once all of its bytes are there.

Knows nothing of models; a function from ids to text is all it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

_INCOMPLETE = "\ufffd"  # what decoders write for bytes that are not (yet) a character


def decode_pieces(ids: Iterable[int], decode: Callable[[list[int]], str]) -> Generator[str]:
    """Yield the text of `ids` in pieces, holding back what may still change with the next id.

    Each piece is decoded together with the ids of the piece before it, since tokenizers drop or keep a space by what
    precedes it. A character that the last id leaves unfinished is dropped.
    """
    window: list[int] = []  # the ids of the last piece, then those still held back
    num_shown = 0  # how many of them have been shown
    for token in ids:
        window.append(token)
        before = decode(window[:num_shown])
        text = decode(window)
        if len(text) > len(before) and not text.endswith(_INCOMPLETE):
            yield text[len(before) :]
            window = window[num_shown:]
            num_shown = len(window)
    before = decode(window[:num_shown])
    rest = decode(window)[len(before) :].rstrip(_INCOMPLETE)
    if rest:
        yield rest
