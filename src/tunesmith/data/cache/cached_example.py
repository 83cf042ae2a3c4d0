"""An encoded row as bytes for the cache, and back: ids as they are, labels and token types as runs, media by stamps.

Knows no database and no keys.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.cache.media_stamps import StampedMedia
from tunesmith.data.encoding.encoded import IGNORED, Encoded, RowMedia
from tunesmith.data.store.address import RowRef
from tunesmith.media.download import UrlLimits

_HEAD = struct.Struct("<IIIIB")
"""Tokens, media tokens, runs of labels, runs of token types, flags."""

_TRUNCATED, _HAS_TYPES = 1, 2


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
    flags = _TRUNCATED * encoded.truncated + _HAS_TYPES * (encoded.token_types is not None)
    head = _HEAD.pack(len(encoded), encoded.num_media_tokens, len(labels), len(types), flags)
    arrays = (encoded.input_ids.astype("<i4", copy=False), labels.astype("<i4"), types.astype("<i4"))
    return b"".join([head, *(array.tobytes() for array in arrays), _tail(example)])


def unpack_example(packed: bytes, *, ref: RowRef, source: RowSource) -> CachedExample:
    """What `pack_example` was given, as the row `ref` that stands at `source`."""
    num_tokens, num_media_tokens, num_labels, num_types, flags = _HEAD.unpack_from(packed)
    numbers = np.frombuffer(packed, "<i4", num_tokens + 3 * (num_labels + num_types), _HEAD.size)
    tail = packed[_HEAD.size + numbers.nbytes :]
    ids, runs = numbers[:num_tokens], numbers[num_tokens:].reshape(-1, 3).tolist()
    labels = np.full(num_tokens, IGNORED, np.int32)
    for start, end, _ in runs[:num_labels]:
        labels[start:end] = ids[start:end]
    types = np.zeros(num_tokens, np.int8) if flags & _HAS_TYPES else None
    for start, end, kind in runs[num_labels:]:
        assert types is not None
        types[start:end] = kind
    cut, media, kept = _read_tail(tail)
    encoded = Encoded(
        input_ids=ids.astype(np.int32),
        labels=labels,
        token_types=types,
        media=tuple(item.media for item, is_kept in zip(media, kept, strict=True) if is_kept),
        num_media_tokens=num_media_tokens,
        truncated=bool(flags & _TRUNCATED),
        source=source,
        ref=ref,
    )
    return CachedExample(encoded, media, kept, cut)


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
