"""Which micro-batches a process makes, and what it runs to keep step with the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tunesmith.chat.message import Media, MediaKind, RowSource
from tunesmith.data.batches.ballast import Ballast
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.feed.share import Share
from tunesmith.data.feed.turns import Assigned, Assigner
from tunesmith.data.feed.windows import Planned
from tunesmith.errors import DataError


def sample(row: int, *kinds: MediaKind) -> Encoded:
    ids = np.arange(3, dtype=np.int32)
    return Encoded(ids, ids, None, tuple(Media(kind, "x") for kind in kinds), 0, False, RowSource("rows.jsonl", row))


NO_BALLAST = Ballast(
    filler=sample(0),
    runs={"image": frozenset({"image"}), "video": frozenset({"video", "audio"}), "audio": frozenset({"audio"})},
    carriers={},
    refused={},
)


def planned(samples: Sequence[Encoded], *, ends: Sequence[int] = (), problem_at: int = -1) -> list[Planned]:
    """A micro-batch of each sample; epochs end behind the numbers in `ends`."""
    return [
        Planned(
            () if number == problem_at else (one,),
            (),
            FeedPosition(row=number),
            ends_epoch=number in ends,
            problem=DataError("no") if number == problem_at else None,
        )
        for number, one in enumerate(samples)
    ]


def rows_of(assigned: Sequence[Assigned]) -> list[int | str | None]:
    """The row that is made of each micro-batch, None for another's, "filler" for a filler."""
    return [
        None if one.samples is None else next((made.source.row for made in one.samples), "filler") for one in assigned
    ]


def assign(share: Share, made: Sequence[Planned]) -> list[Assigned]:
    return list(Assigner(share, NO_BALLAST if share.lockstep else None).assign(iter(made)))


@pytest.mark.parametrize("rank", [0, 1])
def test_numbers_begin_anew_with_every_step_and_epoch(rank: int) -> None:
    made = planned([sample(row) for row in range(8)], ends=[4])
    assigned = assign(Share(rank, 2, per_step=3), made)
    assert [one.number for one in assigned] == [0, 1, 2, 0, 1, 0, 1, 2]
    assert rows_of(assigned) == [[0, None, 2, 3, None, 5, None, 7], [None, 1, None, None, 4, None, 6, None]][rank]
    assert {one.kinds for one in assigned} == {None}


def test_without_an_end_a_step_is_all_of_an_epoch() -> None:
    assigned = assign(Share(1, 3), planned([sample(row) for row in range(7)], ends=[4]))
    assert [one.number for one in assigned] == [0, 1, 2, 3, 4, 0, 1]
    assert rows_of(assigned) == [None, 1, None, None, 4, None, 6]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_in_lockstep_the_end_of_a_step_is_filled(rank: int) -> None:
    made = planned([sample(row) for row in range(5)], ends=[4])
    assigned = assign(Share(rank, 3, per_step=4, lockstep=True), made)
    assert (
        rows_of(assigned)
        == [
            [0, None, None, 3, 4],
            [None, 1, None, "filler", "filler"],
            [None, None, 2, "filler", "filler"],
        ][rank]
    )


def test_in_lockstep_a_turn_has_the_kinds_of_any_of_its_batches() -> None:
    made = planned([sample(0), sample(1, "image"), sample(2, "video"), sample(3), sample(4), sample(5)])
    for rank in (0, 1):
        assigned = assign(Share(rank, 2, per_step=6, lockstep=True), made)
        assert [sorted(one.kinds or ()) for one in assigned] == [
            *[["image"]] * 2,
            *[["audio", "video"]] * 2,
            *[[]] * 2,
        ]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("lockstep", [True, False])
def test_where_planning_fails_all_processes_end_alike(rank: int, lockstep: bool) -> None:
    made = planned([sample(row) for row in range(4)], problem_at=3)
    assigned = assign(Share(rank, 2, per_step=4, lockstep=lockstep), made)
    assert assigned[-1].planned.problem is not None and assigned[-1].samples is None
    # in lockstep nobody begins a turn that not all can end
    assert [one.planned.after.row for one in assigned] == ([0, 1, 3] if lockstep else [0, 1, 2, 3])
