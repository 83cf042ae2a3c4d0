"""What the step after a checkpoint is made of: noted when the checkpoint is written, compared when the run goes on.

Samples count by their ids and labels, media by the bytes of their files (of long ones both ends and the size); what
rows hold themselves is the data's fingerprint's matter. Samples of no row, which keep processes in step, do not count,
so that every engine and number of processes comes to the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tunesmith.chat.message import Media
from tunesmith.data.batches.batch import Batch
from tunesmith.data.encoding.encoded import Encoded, RowMedia
from tunesmith.errors import TunesmithError
from tunesmith.train.checkpoint.fingerprint import NextBatch, digest_bytes
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.feed import FedStep

_WHOLE_BYTES = 4 * 2**20
"""Files up to this size count byte by byte."""
_EDGE_BYTES = 2**16


class Lookahead:
    """Steps one after another, with a look at the one that comes next."""

    def __init__(self, steps: Iterator[FedStep]) -> None:
        self._steps = steps
        self._seen: list[FedStep | TunesmithError | None] = []

    def __iter__(self) -> Iterator[FedStep]:
        return self

    def __next__(self) -> FedStep:
        """The next step. Raises what making it raised."""
        self._fetch()
        found = self._seen[0]
        if isinstance(found, FedStep):
            return self._seen.pop()  # type: ignore[return-value]
        if found is None:
            raise StopIteration
        raise found

    def peek(self) -> FedStep | None:
        """The step that comes next; None after the last, and where it cannot be made, which its turn will tell."""
        self._fetch()
        found = self._seen[0]
        return found if isinstance(found, FedStep) and found.problem is None else None

    def _fetch(self) -> None:
        if self._seen:
            return
        try:
            self._seen.append(next(self._steps, None))
        except TunesmithError as error:
            self._seen.append(error)


def describe_step(parallel: Parallel, fed: FedStep | None) -> Mapping[int, NextBatch] | None:
    """The step's micro-batches over all processes, by number. For all processes together.

    None where some process has none.
    """
    own = None if fed is None else {batch.number: _describe(batch) for batch in fed.batches if not batch.is_filler}
    parts = parallel.gather(own)
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return dict(sorted((number, batch) for part in found for number, batch in part.items()))


def _describe(batch: Batch) -> NextBatch:
    return NextBatch(
        rows=tuple(str(source) for source in batch.sources),
        ids=digest_bytes(part for sample in batch.samples for part in _ids(sample)),
        media=digest_bytes(part for sample in batch.samples for item in sample.media for part in _content(item)),
    )


def _ids(sample: Encoded) -> Iterator[bytes]:
    yield sample.input_ids.tobytes()
    yield sample.labels.tobytes()


def _content(item: Media | RowMedia) -> Iterator[bytes]:
    if isinstance(item, RowMedia):
        yield f"{item.kind} {item.number}".encode()
    elif isinstance(item.source, bytes):
        yield item.source
    else:
        for place in (item.source,) if isinstance(item.source, str) else item.source:
            yield from _of_file(place)


def _of_file(place: str) -> Iterator[bytes]:
    """Of a local file its bytes; of what lies elsewhere (a URL, a member of an archive) only where."""
    file = Path(place) if len(place) < os.pathconf("/", "PC_PATH_MAX") else None
    if place.startswith("data:") or file is None or not file.is_file():
        yield place.encode()
        return
    size = file.stat().st_size
    if size <= _WHOLE_BYTES:
        yield file.read_bytes()
        return
    yield str(size).encode()
    with file.open("rb") as stream:
        yield stream.read(_EDGE_BYTES)
        stream.seek(size - _EDGE_BYTES)
        yield stream.read(_EDGE_BYTES)
