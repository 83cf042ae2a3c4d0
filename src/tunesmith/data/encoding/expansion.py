"""What a processor puts in place of a media placeholder, learned from the processor itself.

The processor is called on blank media of the right shape, with a tokenizer that only notes the text it is given: so
nothing here knows any model's rules, and no pixel or sample of a row is decoded. Knows nothing of rows or spans.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from tunesmith.chat.message import MediaKind
from tunesmith.data.encoding.blank_media import blank_medium, without_spectrograms
from tunesmith.data.encoding.media_shape import AudioShape, ImageShape, Shape, VideoShape
from tunesmith.data.encoding.processor_call import call_processor
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor
from tunesmith.models.quiet import quiet_transformers

_BORDER = "\uf8ff"
_MARKS = ("vision_bos_token", "vision_eos_token")
_NUM_COUNTS = 65536
_NUM_TEXTS = 1024
"""Remembered texts; one of a long video has some hundred kilobytes."""

_PROBES: dict[MediaKind, tuple[Shape, ...]] = {
    "image": (ImageShape(48, 64), ImageShape(1000, 400), ImageShape(333, 777), ImageShape(1500, 1200)),
    "video": (
        VideoShape(160, 90, (0, 10, 20, 30, 40), 50, 25.0),
        VideoShape(120, 200, tuple(range(0, 80, 10)), 85, 29.97),
    ),
    "audio": (AudioShape(16_000), AudioShape(70_123), AudioShape(161), AudioShape(6_000_001)),
}
_RULES: dict[MediaKind, tuple[str, str]] = {
    "image": ("image_sizes", "num_image_tokens"),
    "audio": ("audio_lengths", "num_audio_tokens"),
}
"""Argument and result of `_get_num_multimodal_tokens`, where a count can be the whole text (a video's has times)."""


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


def expanded_text(
    preprocessor: Preprocessor, *, text: str, shapes: Sequence[Shape], without_content: bool = False
) -> str:
    """`text` as the processor gives it to its tokenizer, for media of `shapes` in the order of the placeholders.

    `without_content` lets blank media be shapes only, which is quick where the processor bears it. Raises DataError
    if the processor refuses such media.
    """
    preprocessor = without_spectrograms(preprocessor) if without_content else preprocessor
    noting: Any = copy.copy(preprocessor.processor)
    noting.tokenizer = _NotingTokenizer(preprocessor.tokenizer)
    media = [blank_medium(shape, without_content=without_content) for shape in shapes]
    try:
        # what a processor warns of blank media is of no interest
        with quiet_transformers():
            call_processor(replace(preprocessor, processor=noting), texts=[text], rows=[media], return_tensors="pt")
    except _TextSeen as seen:
        return seen.text
    except ValueError as error:
        shown = ", ".join(str(shape) for shape in shapes)
        raise DataError(f"the model's processor refuses {shown}: {error}") from None
    raise DataError(f"{type(preprocessor.processor).__name__} does not hand its text to a tokenizer")


class Replacements:
    """The text a model's processor writes for each medium of a row, remembered per shape.

    What a processor's kind of media allows is found when the first medium of the kind comes.
    """

    def __init__(self, preprocessor: Preprocessor) -> None:
        self._preprocessor = preprocessor
        self._processor: Any = preprocessor.processor
        self._depends_on_row = cache(self._is_row_dependent)
        self._bears_blanks = cache(self._compare_blanks)
        self._has_rule = cache(self._check_rule)
        self._count = lru_cache(maxsize=_NUM_COUNTS)(self._predict_count)
        self._row_texts = lru_cache(maxsize=_NUM_TEXTS)(self._learn_row)

    def __call__(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        """One text per medium of a row whose media have `shapes`. Raises DataError if the processor refuses one."""
        if any(self._depends_on_row(kind) for kind in {shape.kind for shape in shapes}):
            return self._row_texts(tuple(shapes))
        return tuple(self._text(shape) for shape in shapes)

    def _text(self, shape: Shape) -> str:
        if self._has_rule(shape.kind):
            return self._preprocessor.placeholder(shape.kind) * self._count(shape)
        return self._row_texts((shape,))[0]

    def _learn_row(self, shapes: tuple[Shape, ...]) -> tuple[str, ...]:
        return self._measure(shapes, without_content=all(self._bears_blanks(shape.kind) for shape in shapes))

    def _measure(self, shapes: Sequence[Shape], *, without_content: bool) -> tuple[str, ...]:
        marks = [self._marks(shape) for shape in shapes]
        placeholders = [
            self._preprocessor.placeholder(shape.kind).join(pair) for shape, pair in zip(shapes, marks, strict=True)
        ]
        text = _BORDER + "".join(placeholder + _BORDER for placeholder in placeholders)
        whole = expanded_text(self._preprocessor, text=text, shapes=shapes, without_content=without_content)
        pieces = whole.split(_BORDER)
        if len(pieces) != len(shapes) + 2:
            raise DataError(f"{type(self._processor).__name__} does not write one text for each medium")
        return tuple(
            piece.removeprefix(before).removesuffix(after)
            for piece, (before, after) in zip(pieces[1:-1], marks, strict=True)
        )

    def _marks(self, shape: Shape) -> tuple[str, str]:
        """What a template writes around the placeholder, where processors look for it too.

        transformers before 5.2x weaves sound only into a video between its marks.
        """
        if not isinstance(shape, VideoShape) or shape.num_sound_samples is None:
            return "", ""
        return getattr(self._processor, _MARKS[0], ""), getattr(self._processor, _MARKS[1], "")

    def _is_row_dependent(self, kind: MediaKind) -> bool:
        """Whether a medium's text changes with its place in the row, or with the number of media (image ids, …)."""
        for shape in _PROBES[kind][:2]:
            alone = self._learn_row((shape,))[0]
            if set(self._learn_row((shape, shape))) != {alone}:
                return True
        return False

    def _compare_blanks(self, kind: MediaKind) -> bool:
        """Whether blank media that are shapes only give the same texts as blank media with content."""
        for shape in _PROBES[kind][:2]:
            try:
                quick = self._measure((shape,), without_content=True)
            except (AttributeError, RuntimeError, TypeError, ValueError):
                # what processors raise that want to look at the pixels
                return False
            if quick != self._measure((shape,), without_content=False):
                return False
        return True

    def _check_rule(self, kind: MediaKind) -> bool:
        """Whether the processor's own token counts, which cost microseconds, tell the whole text."""
        if kind not in _RULES or not hasattr(self._processor, "_get_num_multimodal_tokens"):
            return False
        placeholder = self._preprocessor.placeholder(kind)
        try:
            return all(
                placeholder * self._predict_count(shape) == self._learn_row((shape,))[0] for shape in _PROBES[kind]
            )
        except (AttributeError, KeyError, TypeError):
            # a processor that counts images, but takes no `audio_lengths`
            return False

    def _predict_count(self, shape: Shape) -> int:
        argument, result = _RULES[shape.kind]
        value: Any = shape.num_samples if isinstance(shape, AudioShape) else (shape.height, shape.width)
        try:
            found = self._processor._get_num_multimodal_tokens(**{argument: [value]})
        except ValueError as error:
            raise DataError(f"the model's processor refuses {shape}: {error}") from None
        return int(found[result][0])


def replacements_in(preprocessor: Preprocessor, *, pieces: Sequence[str], shapes: Sequence[Shape]) -> tuple[str, ...]:
    """What a full call on this very row writes between `pieces`, the text around its placeholders.

    For processors whose text depends on more than the media's shapes. Raises DataError if one rewrites the text
    around its placeholders, which no label could follow.
    """
    placeholders = [preprocessor.placeholder(shape.kind) for shape in shapes]
    text = "".join(part for pair in zip(pieces, [*placeholders, ""], strict=True) for part in pair)
    whole = expanded_text(preprocessor, text=text, shapes=shapes)
    name = type(preprocessor.processor).__name__
    found, position = [], 0
    for index, piece in enumerate(pieces):
        start = len(whole) - len(piece) if index == len(pieces) - 1 else whole.find(piece, position)
        if start < position or not whole.startswith(piece, start):
            raise DataError(f"{name} rewrites the text around its placeholders")
        found.append(whole[position:start])
        position = start + len(piece)
    if found[0]:
        raise DataError(f"{name} writes text before the conversation")
    return tuple(found[1:])
