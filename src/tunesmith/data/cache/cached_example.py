"""An encoded row as bytes for the cache, and back: ids as they are, labels and token types as runs, media by stamps.

    head | ids | runs of labels | runs of token types | branches | pieces | text as JSON

Knows no database and no keys.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.cache.media_stamps import StampedMedia
from tunesmith.data.encoding.encoded import IGNORED, Encoded, Piece, RowMedia
from tunesmith.data.store.address import RowRef
from tunesmith.media.download import UrlLimits

_HEAD = struct.Struct("<IIIIIIB")
"""Tokens, media tokens, runs of labels, runs of token types, branches, pieces, flags."""

_TRUNCATED, _HAS_TYPES, _JUDGED, _GOOD = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class CachedExample:
    """One row as the cache keeps it.

    media: all media of the row, those that were cut off too, since the cut depends on them
    kept:  for each of them whether the example has it
    cut:   what the row lost to cutoff_len, None if nothing
    """

    encoded: Encoded
    media: tuple[StampedMedia, ...]
    kept: tuple[bool, ...]
    cut: str | None

    def is_current(self, limits: UrlLimits) -> bool:
        """Whether the files of all media are what they were."""
        return all(item.is_current(limits) for item in self.media)


def pack_example(example: CachedExample) -> bytes:
    """`example` as bytes, without its source and reference."""
    encoded = example.encoded
    labels = _runs(encoded.labels != IGNORED)
    types = np.empty((0, 3), np.int32) if encoded.token_types is None else _runs(encoded.token_types)
    pieces = [(piece.num_tokens, piece.num_media) for piece in encoded.pieces]
    counts = len(encoded), encoded.num_media_tokens, len(labels), len(types), len(encoded.branches), len(pieces)
    arrays = encoded.input_ids, labels, types, np.array(encoded.branches), np.array(pieces)
    head = _HEAD.pack(*counts, _flags(encoded))
    return b"".join([head, *(array.astype("<i4", copy=False).tobytes() for array in arrays), _tail(example)])


def unpack_example(packed: bytes, *, ref: RowRef, source: RowSource) -> CachedExample:
    """What `pack_example` was given, as the row `ref` that stands at `source`."""
    num_tokens, num_media_tokens, num_labels, num_types, num_branches, num_pieces, flags = _HEAD.unpack_from(packed)
    ends = list(accumulate((num_tokens, 3 * num_labels, 3 * num_types, num_branches, 2 * num_pieces)))
    numbers = np.frombuffer(packed, "<i4", ends[-1], _HEAD.size)
    ids, labels, types, branches, pieces = np.split(numbers, ends[:-1])
    cut, media, kept = _read_tail(packed[_HEAD.size + numbers.nbytes :])
    encoded = Encoded(
        input_ids=ids.astype(np.int32),
        labels=_read_labels(ids, labels),
        token_types=_read_types(num_tokens, types) if flags & _HAS_TYPES else None,
        media=tuple(item.media for item, is_kept in zip(media, kept, strict=True) if is_kept),
        num_media_tokens=num_media_tokens,
        truncated=bool(flags & _TRUNCATED),
        source=source,
        ref=ref,
        branches=tuple(branches.tolist()),
        pieces=tuple(Piece(*piece) for piece in pieces.reshape(-1, 2).tolist()),
        verdict=bool(flags & _GOOD) if flags & _JUDGED else None,
    )
    return CachedExample(encoded, media, kept, cut)


def _flags(encoded: Encoded) -> int:
    return (
        _TRUNCATED * encoded.truncated
        + _HAS_TYPES * (encoded.token_types is not None)
        + _JUDGED * (encoded.verdict is not None)
        + _GOOD * bool(encoded.verdict)
    )


def _read_labels(ids: np.ndarray, runs: np.ndarray) -> np.ndarray:
    labels = np.full(len(ids), IGNORED, np.int32)
    for start, end, _ in runs.reshape(-1, 3).tolist():
        labels[start:end] = ids[start:end]
    return labels


def _read_types(num_tokens: int, runs: np.ndarray) -> np.ndarray:
    types = np.zeros(num_tokens, np.int8)
    for start, end, kind in runs.reshape(-1, 3).tolist():
        types[start:end] = kind
    return types


def _runs(values: np.ndarray) -> np.ndarray:
    """(N, 3): start, end and value of every run of the same value in `values` (T,), runs of zeros left out."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate(([0], edges))
    runs: np.ndarray = np.stack((starts, np.append(edges, len(values)), values[starts]), axis=1)
    kept: np.ndarray = runs[runs[:, 2] != 0]
    return kept


def _tail(example: CachedExample) -> bytes:
    """What is text: nothing for most rows of text."""
    if not example.media and example.cut is None:
        return b""
    media = [_record(item, kept) for item, kept in zip(example.media, example.kept, strict=True)]
    return json.dumps([example.cut, media], ensure_ascii=False, separators=(",", ":")).encode()


def _record(item: StampedMedia, kept: bool) -> list[Any]:
    source = None if isinstance(item.media, RowMedia) else item.media.source
    return [item.media.kind, source, item.stamps, int(kept)]


def _read_tail(tail: bytes) -> tuple[str | None, tuple[StampedMedia, ...], tuple[bool, ...]]:
    if not tail:
        return None, (), ()
    cut, records = json.loads(tail)
    media = tuple(_stamped(record, number) for number, record in enumerate(records))
    return cut, media, tuple(bool(kept) for *_, kept in records)


def _stamped(record: Sequence[Any], number: int) -> StampedMedia:
    kind, source, stamps, _ = record
    if source is None:
        return StampedMedia(RowMedia(kind, number), ())
    media = Media(kind, source if isinstance(source, str) else tuple(source))
    return StampedMedia(media, tuple((start, num_bytes, changed_ns) for start, num_bytes, changed_ns in stamps))
