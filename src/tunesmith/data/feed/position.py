"""Where a feed of micro-batches is, small enough for every checkpoint.

A position is the beginning of a window of rows and a number of micro-batches made of it: whoever goes on from it
encodes that window again and leaves those micro-batches out. Knows no files and no orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.data.store.address import Cursor


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """Where the reading of one streamed dataset is.

    cursor: beginning of the block that is being given
    block:  number of that block since the epoch began, which decides how its rows are shuffled
    drawn:  rows of the shuffled block already given
    ended:  whether the dataset came to its end in this epoch
    """

    cursor: Cursor = field(default_factory=Cursor)
    block: int = 0
    drawn: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where the reading of several streamed datasets is after `row` rows of the epoch; `turn` gives the next one."""

    row: int
    turn: int
    sources: tuple[SourcePlace, ...]


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """The next micro-batch: number `done` (from 0) of the window that begins after `row` rows of `epoch` (from 0).

    stream: with streaming, a place at or shortly before `row` that reading can go on from; None where rows are numbered
    """

    epoch: int = 0
    row: int = 0
    done: int = 0
    stream: StreamPlace | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FeedPosition:
        """The inverse of to_json."""
        stream = content["stream"]
        return cls(content["epoch"], content["row"], content["done"], None if stream is None else _stream_place(stream))


def _stream_place(content: Mapping[str, Any]) -> StreamPlace:
    sources = tuple(SourcePlace(**{**source, "cursor": Cursor(**source["cursor"])}) for source in content["sources"])
    return StreamPlace(content["row"], content["turn"], sources)
