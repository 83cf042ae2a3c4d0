"""Short hashes of the data and the model of a run: equal when a resumed run would see the same.

What they cost does not grow with the rows or the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tunesmith.chat.message import Media
from tunesmith.data.encoding.encoded import Encoded, RowMedia

_EDGE_BYTES = 64 * 1024


def fingerprint_data(datasets: Iterable[str], examples: Iterable[Encoded]) -> str:
    """Over the datasets' own fingerprints, and ids, labels and media references of a few examples, in order.

    The examples stand for everything that turns a row into ids: tokenizer, template, options, and this version's code.
    """
    digest = hashlib.blake2b(digest_size=16)
    for dataset in datasets:
        digest.update(dataset.encode() + b"\0")
    for example in examples:
        digest.update(len(example).to_bytes(8, "little"))
        digest.update(example.input_ids.tobytes())
        digest.update(example.labels.tobytes())
        for media in example.media:
            source = _content(media)
            digest.update(len(source).to_bytes(8, "little") + source)
    return digest.hexdigest()


def fingerprint_files(files: Iterable[Path]) -> str:
    """Over names, sizes and both ends of files: enough to tell weights apart without reading them all."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_EDGE_BYTES))
            stream.seek(max(0, size - _EDGE_BYTES))
            digest.update(stream.read(_EDGE_BYTES))
    return digest.hexdigest()


def _content(media: Media | RowMedia) -> bytes:
    if isinstance(media, RowMedia):
        return f"{media.kind}\0{media.number}".encode()
    return media.source if isinstance(media.source, bytes) else repr(media.source).encode()
