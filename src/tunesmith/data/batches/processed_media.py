"""Tensors of media that were processed lately, so that a picture used again is not made again; bounded in bytes.

Knows nothing of processors: it keeps what it is given, the latest used last to go. Threads may share it; it takes no
lock, which a process forked meanwhile would find held for ever.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import suppress

from torch import Tensor

from tunesmith.chat.message import Media, MediaKind

Tensors = Mapping[str, Tensor]


def media_key(media: Media, kind: MediaKind) -> Hashable:
    """What names the content of `media` taken as `kind` (the sound of a video is audio); short for bytes too."""
    source = media.source
    if isinstance(source, bytes):
        return kind, hashlib.blake2b(source, digest_size=16).digest()
    return kind, source


class ProcessedMedia:
    """A store of at most `max_bytes`, which lets go of what was not used for longest."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[Hashable, Tensors] = OrderedDict()

    def get(self, key: Hashable) -> Tensors | None:
        """The tensors put under `key`, if they are still there."""
        tensors = self._kept.get(key)
        if tensors is not None:
            with suppress(KeyError):  # another thread has just let go of it
                self._kept.move_to_end(key)
        return tensors

    def put(self, key: Hashable, tensors: Tensors) -> None:
        """Keep `tensors` unless they alone are too large."""
        size = _num_bytes(tensors)
        if size > self._max_bytes or key in self._kept:
            return
        self._kept[key] = tensors
        self._num_bytes += size
        while self._num_bytes > self._max_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._num_bytes -= _num_bytes(oldest)

    def __len__(self) -> int:
        return len(self._kept)


def _num_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
