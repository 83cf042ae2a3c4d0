"""What the cache keeps of rows with several answers, of documents in pieces and of verdicts comes back as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tunesmith.chat.message import Media, RowSource
from tunesmith.data.cache.cached_example import CachedExample, pack_example, unpack_example
from tunesmith.data.cache.media_stamps import StampedMedia
from tunesmith.data.encoding.encoded import IGNORED, Encoded, Piece
from tunesmith.data.store.address import RowRef

REF, SOURCE = RowRef(0, 1, 2, (30, 40)), RowSource("rows.jsonl", 2)
PICTURE = Media("image", "/pictures/ä.png")


def encoded() -> Encoded:
    ids = np.array([7, 8, 9, 9, 5, 6, 5, 3], np.int32)
    return Encoded(
        input_ids=ids,
        labels=np.where(np.arange(8) >= 4, ids, np.int32(IGNORED)),
        token_types=np.array([0, 0, 1, 1, 0, 0, 0, 0], np.int8),
        media=(PICTURE,),
        num_media_tokens=2,
        truncated=False,
        source=SOURCE,
        ref=REF,
    )


@pytest.mark.parametrize(
    "row",
    [
        encoded(),
        replace(encoded(), branches=(2, 2)),
        replace(encoded(), branches=(3, 1), verdict=True),
        replace(encoded(), branches=(3, 1), verdict=False, truncated=True),
        replace(encoded(), pieces=(Piece(5, 1), Piece(3, 0))),
        replace(encoded(), pieces=(Piece(4, 1), Piece(2, 0), Piece(2, 0)), token_types=None),
    ],
)
def test_every_kind_of_row_comes_back(row: Encoded) -> None:
    kept = CachedExample(row, (StampedMedia(PICTURE, ((0, 10, 99),)),), (True,), "turns cut: 1 of 2 exchanges cut")
    found = unpack_example(pack_example(kept), ref=REF, source=SOURCE)
    assert (found.media, found.kept, found.cut) == (kept.media, kept.kept, kept.cut)
    for name in ("input_ids", "labels", "token_types"):
        ours, theirs = getattr(found.encoded, name), getattr(row, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or (ours.dtype == theirs.dtype and np.array_equal(ours, theirs))
    arrays = {"input_ids": row.input_ids, "labels": row.labels, "token_types": row.token_types}
    assert repr(replace(found.encoded, **arrays)) == repr(row)


def test_answers_cost_four_bytes_each() -> None:
    plain = CachedExample(replace(encoded(), media=()), (), (), None)
    tree = replace(plain, encoded=replace(plain.encoded, branches=(2, 2)))
    assert len(pack_example(tree)) == len(pack_example(plain)) + 8
