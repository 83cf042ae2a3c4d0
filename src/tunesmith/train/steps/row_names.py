"""The rows of batches, as messages name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunesmith.chat.message import RowSource
from tunesmith.data.batches.batch import Batch

_MOST_NAMED = 8


def name_rows(batches: Iterable[Batch]) -> str:
    """`on these rows: a.json, row 3; …`, the first few by name."""
    return name_sources([source for batch in batches for source in batch.sources])


def name_sources(sources: Sequence[RowSource]) -> str:
    """The same of rows themselves."""
    more = f" and {len(sources) - _MOST_NAMED} more" if len(sources) > _MOST_NAMED else ""
    return f"on these rows: {'; '.join(map(str, sources[:_MOST_NAMED]))}{more}"
