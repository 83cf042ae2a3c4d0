"""What a processor puts in place of a media placeholder, learned from the processor itself.

The processor is called on blank images of the right size, with a tokenizer that only notes the text it is given: so
nothing here knows any model's rules, and no pixel of a row is decoded. Knows nothing of rows or spans.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image

from tunesmith.errors import DataError

Size = tuple[int, int]
"""(width, height) of an image, as the processor gets it."""

_BORDER = "\uf8ff"
_PROBE_SIZES: tuple[Size, ...] = ((48, 64), (1000, 400), (333, 777), (1500, 1200))


class _TextSeen(Exception):  # noqa: N818 - ends a processor's call early, says nothing is wrong
    """Carries the text that reached the tokenizer."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class _NotingTokenizer:
    """Stands in for a processor's tokenizer: the same attributes, but a call stops the processor."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: Any = None, **_options: Any) -> Any:
        raise _TextSeen(text if isinstance(text, str) else text[0])


def expanded_text(processor: Any, *, text: str, sizes: Sequence[Size]) -> str:
    """`text` as `processor` gives it to its tokenizer, for images of `sizes` in the order of the placeholders.

    Raises DataError if the processor refuses such images.
    """
    noting = copy.copy(processor)
    noting.tokenizer = _NotingTokenizer(processor.tokenizer)
    images = [Image.new("RGB", size) for size in sizes]
    try:
        noting(text=[text], images=[images])
    except _TextSeen as seen:
        return seen.text
    except ValueError as error:
        shown = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise DataError(f"the model's processor refuses images of {shown} pixels: {error}") from None
    raise DataError(f"{type(processor).__name__} does not hand its text to a tokenizer")


class Replacements:
    """The text `processor` writes for each image of a row, remembered per size."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._placeholder = str(processor.image_token)
        self._per_image = lru_cache(maxsize=65536)(self._learn_image)
        self._per_row = lru_cache(maxsize=4096)(self._learn_row)
        self._depends_on_row = self._is_row_dependent()
        self._counts_are_right = not self._depends_on_row and self._check_counts()

    def __call__(self, sizes: Sequence[Size]) -> tuple[str, ...]:
        """One text per image of a row whose images have `sizes`. Raises DataError if the processor refuses one."""
        if self._depends_on_row:
            return self._per_row(tuple(sizes))
        return tuple(self._per_image(size) for size in sizes)

    def _learn_image(self, size: Size) -> str:
        if self._counts_are_right:
            return self._placeholder * self._predict_count(size)
        return self._learn_row((size,))[0]

    def _learn_row(self, sizes: tuple[Size, ...]) -> tuple[str, ...]:
        text = _BORDER + "".join(self._placeholder + _BORDER for _ in sizes)
        pieces = expanded_text(self._processor, text=text, sizes=sizes).split(_BORDER)
        if len(pieces) != len(sizes) + 2:
            raise DataError(f"{type(self._processor).__name__} does not write one text for each image")
        return tuple(pieces[1:-1])

    def _is_row_dependent(self) -> bool:
        """Whether an image's text changes with its place in the row, or with the number of images (image ids, …)."""
        for size in _PROBE_SIZES[:2]:
            alone = self._learn_row((size,))[0]
            if set(self._learn_row((size, size))) != {alone}:
                return True
        return False

    def _check_counts(self) -> bool:
        """Whether the processor's own token counts, which cost microseconds, tell the whole text."""
        if not hasattr(self._processor, "_get_num_multimodal_tokens"):
            return False
        return all(
            self._placeholder * self._predict_count(size) == self._learn_row((size,))[0] for size in _PROBE_SIZES
        )

    def _predict_count(self, size: Size) -> int:
        width, height = size
        try:
            found = self._processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
        except ValueError as error:
            raise DataError(f"the model's processor refuses an image of {width}x{height} pixels: {error}") from None
        return int(found["num_image_tokens"][0])


def replacements_in(processor: Any, *, pieces: Sequence[str], sizes: Sequence[Size]) -> tuple[str, ...]:
    """What a full call on this very row writes between `pieces`, the text around its placeholders.

    For processors whose text depends on more than the images' sizes. Raises DataError if one rewrites the text
    around its placeholders, which no label could follow.
    """
    whole = expanded_text(processor, text=str(processor.image_token).join(pieces), sizes=sizes)
    found, position = [], 0
    for index, piece in enumerate(pieces):
        start = len(whole) - len(piece) if index == len(pieces) - 1 else whole.find(piece, position)
        if start < position or not whole.startswith(piece, start):
            raise DataError(f"{type(processor).__name__} rewrites the text around its placeholders")
        found.append(whole[position:start])
        position = start + len(piece)
    if found[0]:
        raise DataError(f"{type(processor).__name__} writes text before the conversation")
    return tuple(found[1:])
