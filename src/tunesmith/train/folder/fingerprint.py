"""Short hashes of the data and the model of a run: equal when a resumed run would see the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tunesmith.data.encoded import Encoded

_EDGE_BYTES = 64 * 1024


def fingerprint_examples(examples: Iterable[Encoded]) -> str:
    """Over ids, labels and media references of every example, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(len(example).to_bytes(8, "little"))
        digest.update(example.input_ids.tobytes())
        digest.update(example.labels.tobytes())
        for media in example.media:
            source = media.source if isinstance(media.source, bytes) else media.source.encode()
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
