"""Outcomes of rows, made up, for tests of whatever counts them."""

from __future__ import annotations

import numpy as np

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Outcome
from tunesmith.data.problem import RowProblem
from tunesmith.data.store.address import RowRef


def kept(
    row: int,
    *,
    num_tokens: int,
    num_supervised: int,
    num_media_tokens: int = 0,
    dataset: int = 0,
    kinds: tuple[str, ...] = ("image",),
    cut: str | None = None,
) -> Outcome:
    """A row that is trained on, its answer at the end."""
    labels = np.full(num_tokens, -100, dtype=np.int32)
    labels[num_tokens - num_supervised :] = 1
    media = tuple(Media(kind, f"a.{kind}") for kind in kinds) if num_media_tokens else ()  # type: ignore[arg-type]
    source = RowSource(f"{dataset}.json", row)
    ids = np.ones(num_tokens, dtype=np.int32)
    encoded = Encoded(ids, labels, None, media, num_media_tokens, cut is not None, source)
    return Outcome(ref_of(row, dataset), source, encoded, cut=cut)


def left_out(row: int, *, kind: str, detail: str, dataset: int = 0) -> Outcome:
    """A row that cannot be used, or is too long."""
    source = RowSource(f"{dataset}.json", row)
    return Outcome(ref_of(row, dataset), source, None, RowProblem(source, kind, detail))


def ref_of(row: int, dataset: int = 0) -> RowRef:
    """A reference that nobody reads."""
    return RowRef(dataset, 0, row, (row, 1))
