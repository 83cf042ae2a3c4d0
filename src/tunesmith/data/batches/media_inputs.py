"""Media of a batch → what the model's forward takes for them beside ids, made by the model's own processor.

A medium that stands several times is decoded once. Where a processor's outputs for several media are those for each
one behind each other, it is processed once too and kept for later batches; where not, one call makes them all.
Runs in the loader's workers. Knows nothing of tokens, labels or padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunesmith.chat.message import Media, MediaKind, RowSource
from tunesmith.data.batches.processed_media import ProcessedMedia, Tensors, media_key
from tunesmith.data.encoding.loaded_media import Clip, Loaded, load_clip, load_image, load_sound
from tunesmith.data.encoding.media_shape import VideoShape
from tunesmith.data.encoding.processor_call import call_processor
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.data.encoding.video_sounds import pair_sounds, sound_of
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

_KEPT_BYTES = 128 * 2**20
_SOUND_FLAG = "use_audio_in_video"


@dataclass(frozen=True, slots=True)
class MediaRow:
    """The media of one sequence of a batch in the order of their placeholders, each with the row it came from."""

    items: tuple[tuple[Media, RowSource], ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is processed by itself: a medium, or the sound of a video."""

    media: Media
    kind: MediaKind
    source: RowSource
    is_woven: bool = False


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Names of the tensors for a kind of media; separable: those of several are those of each behind each other."""

    names: frozenset[str]
    is_separable: bool


class MediaInputs:
    """Makes the media tensors of batches for one model. Each process keeps its own latest `kept_bytes` of them."""

    def __init__(self, preprocessor: Preprocessor, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self._preprocessor = preprocessor
        self._sequence = learn_outputs(preprocessor).sequence
        self._processed = ProcessedMedia(kept_bytes)
        self._outputs_of = cache(self._learn_outputs)

    def __call__(self, rows: Sequence[MediaRow]) -> dict[str, Tensor]:
        """The tensors of all media of `rows`, named as the model's forward names them; empty without media.

        Raises DataError, naming the row, for a medium that cannot be read or that the processor refuses.
        """
        pieces = [list(self._pieces(row)) for row in rows]
        kinds = {piece.kind for row in pieces for piece in row}
        alone = self._kinds_alone(kinds)
        outputs: dict[str, Tensor] = {}
        for kind in sorted(alone):
            outputs |= self._process_alone([piece for row in pieces for piece in row if piece.kind == kind])
        rest = [[piece for piece in row if piece.kind not in alone] for row in pieces]
        outputs |= self._process_together([row for row in rest if row])
        if any(piece.is_woven for row in pieces for piece in row):
            # the models that weave sounds into videos place them differently, and must be told
            outputs[_SOUND_FLAG] = torch.tensor(True)
        return outputs

    def tensor_names(self, kind: MediaKind) -> frozenset[str]:
        """What the model's forward calls the tensors for media of `kind`."""
        return self._outputs_of(kind).names

    def _pieces(self, row: MediaRow) -> Iterator[_Piece]:
        if not self._preprocessor.media.use_audio_in_video:
            yield from (_Piece(media, media.kind, source) for media, source in row.items)
            return
        for source, items in groupby(row.items, key=itemgetter(1)):
            for media in pair_sounds([media for media, _ in items]):
                yield _Piece(media, media.kind, source)
                if media.kind == "video":
                    yield _Piece(sound_of(media), "audio", source, is_woven=True)

    def _process_alone(self, pieces: Sequence[_Piece]) -> dict[str, Tensor]:
        """Each piece by itself, once, and all of them behind each other."""
        made: dict[Any, Tensors] = {}
        parts = []
        for piece in pieces:
            key = media_key(piece.media, piece.kind)
            tensors = made.get(key) or self._processed.get(key)
            if tensors is None:
                tensors = self._call([[self._load(piece)]], [[piece]])
                self._processed.put(key, tensors)
            made[key] = tensors
            parts.append(tensors)
        try:
            return _joined(parts)
        except RuntimeError as error:
            sources = "; ".join(dict.fromkeys(str(piece.source) for piece in pieces))
            raise DataError(
                f"{sources}: the model's processor makes {pieces[0].kind}s of different shapes that do not go into one "
                f"batch ({error}); set per_device_train_batch_size: 1 and packing: false"
            ) from error

    def _process_together(self, rows: Sequence[Sequence[_Piece]]) -> dict[str, Tensor]:
        """All pieces in one call, each content loaded once."""
        loaded: dict[Any, Loaded] = {}
        for row in rows:
            for piece in row:
                key = media_key(piece.media, piece.kind)
                if key not in loaded:
                    loaded[key] = self._load(piece)
        contents = [[loaded[media_key(piece.media, piece.kind)] for piece in row] for row in rows]
        return self._call(contents, rows) if rows else {}

    def _load(self, piece: _Piece) -> Loaded:
        try:
            if piece.kind == "audio":
                return load_sound(piece.media, self._preprocessor)
            if piece.kind == "video":
                return load_clip(piece.media, self._preprocessor)
            return load_image(piece.media, self._preprocessor)
        except DataError as error:
            raise DataError(f"{piece.source}: {error}") from error

    def _call(self, contents: Sequence[Sequence[Loaded]], rows: Sequence[Sequence[_Piece]]) -> dict[str, Tensor]:
        texts = ["".join(self._preprocessor.placeholder(piece.kind) for piece in row) for row in rows]
        try:
            outputs = call_processor(self._preprocessor, texts=texts, rows=contents, padding=True, return_tensors="pt")
        except ValueError as error:
            sources = dict.fromkeys(str(piece.source) for row in rows for piece in row)
            kinds = " and ".join(sorted({piece.kind for row in rows for piece in row}))
            raise DataError(f"{'; '.join(sources)}: the model's processor refuses the {kinds}: {error}") from error
        return {name: torch.as_tensor(value) for name, value in outputs.items() if name not in self._sequence}

    def _kinds_alone(self, kinds: set[MediaKind]) -> set[MediaKind]:
        """Those of `kinds` whose media can be processed one by one: outputs separable, and in no other kind's."""
        made = {kind: self._outputs_of(kind) for kind in kinds}
        return {
            kind
            for kind in kinds
            if made[kind].is_separable and not any(made[kind].names & made[other].names for other in kinds - {kind})
        }

    def _learn_outputs(self, kind: MediaKind) -> _Outputs:
        """What the processor makes of media of `kind`, from a call on two and a call on each."""
        pieces = [_Piece(Media(kind, b""), kind, RowSource("<probe>", number)) for number in range(2)]
        first, second = _NOISE[kind]()
        together = self._call([[first, second]], [pieces])
        names = frozenset(together)
        try:
            apart = _joined([self._call([[medium]], [pieces[:1]]) for medium in (first, second)])
        except RuntimeError:
            return _Outputs(names, is_separable=False)  # shapes that do not go behind each other
        same = names == apart.keys() and all(torch.equal(together[name], apart[name]) for name in names)
        return _Outputs(names, is_separable=same)


def _joined(parts: Sequence[Tensors]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _noise_images() -> tuple[Loaded, Loaded]:
    drawn = np.random.default_rng(0)
    first, second = (drawn.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((90, 130), (200, 60)))
    return Image.fromarray(first), Image.fromarray(second)


def _noise_clips() -> tuple[Loaded, Loaded]:
    drawn = np.random.default_rng(0)
    first, second = VideoShape(90, 60, (0, 5, 10, 15), 20, 10.0), VideoShape(60, 120, (0, 5, 10, 15), 20, 10.0)
    pixels = (drawn.integers(0, 256, (4, 3, shape.height, shape.width), dtype=np.uint8) for shape in (first, second))
    return Clip(torch.from_numpy(next(pixels)), first), Clip(torch.from_numpy(next(pixels)), second)


def _noise_sounds() -> tuple[Loaded, Loaded]:
    drawn = np.random.default_rng(0)
    return drawn.standard_normal(16_000, np.float32) * 0.1, drawn.standard_normal(27_200, np.float32) * 0.1


_NOISE = {"image": _noise_images, "video": _noise_clips, "audio": _noise_sounds}
"""Two different media of each kind, to compare a call on both with a call on each."""
