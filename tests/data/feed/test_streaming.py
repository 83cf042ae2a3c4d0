"""Streamed rows: shuffled in blocks, mixed by shares, the same wherever reading begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.numbered import numbered_datasets, places
from tunesmith.data.feed.mixing import Mix
from tunesmith.data.feed.order import Order
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.feed.streaming import StreamOrder, hold_out_first
from tunesmith.errors import UsageError

SIZES = [23, 9]
MIXES = [
    Mix(),
    Mix("interleave_under"),
    Mix("interleave_over"),
    Mix("interleave_over", (0.9, 0.1)),
    Mix("interleave_once"),
]


def stream(folder: Path, sizes: list[int] | None = None, **options: Any) -> StreamOrder:
    datasets = numbered_datasets(folder, sizes or SIZES, streaming=True)
    return StreamOrder(datasets, **{"seed": 3, "buffer_size": 8, **options})


def epoch_of(order: Order, epoch: int, *, size: int = 5) -> list[tuple[int, int]]:
    return places(ref for chunk in order.chunks(FeedPosition(epoch), size=size) for ref in chunk.refs)


def test_every_row_comes_once_an_epoch_in_another_order(tmp_path: Path) -> None:
    order = stream(tmp_path)
    epochs = [epoch_of(order, epoch) for epoch in range(5)]
    assert all(sorted(epoch) == [(0, row) for row in range(23)] + [(1, row) for row in range(9)] for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 5
    assert epoch_of(order, 2) == epochs[2]
    assert order.num_rows(0) is None


def test_rows_are_shuffled_inside_their_block(tmp_path: Path) -> None:
    rows = [row for _, row in epoch_of(stream(tmp_path, [23]), 0)]
    assert [sorted(rows[start : start + 8]) for start in (0, 8, 16)] == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, 23)),
    ]
    assert rows[:8] != list(range(8)) and rows[:8] != [row - 8 for row in rows[8:16]]
    assert [row for _, row in epoch_of(stream(tmp_path, [23], shuffle=False), 0)] == list(range(23))


@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_order_does_not_depend_on_how_much_is_read_at_a_time(tmp_path: Path, size: int) -> None:
    order = stream(tmp_path, mix=Mix("interleave_once", (0.6, 0.4)))
    assert epoch_of(order, 1, size=size) == epoch_of(order, 1)


@pytest.mark.parametrize(
    "mix",
    [
        Mix(),
        Mix("interleave_under"),
        Mix("interleave_over"),
        Mix("interleave_over", (0.9, 0.1)),
        Mix("interleave_once"),
    ],
    ids=str,
)
def test_reading_goes_on_from_any_place(tmp_path: Path, mix: Mix) -> None:
    order = stream(tmp_path, mix=mix)
    whole = epoch_of(order, 1)
    for chunk in order.chunks(FeedPosition(1), size=4):
        for row in range(chunk.row, chunk.row + len(chunk.refs)):
            saved = json.loads(json.dumps(FeedPosition(1, row, 0, chunk.stream).to_json()))
            rest = list(order.chunks(FeedPosition.from_json(saved), size=3))
            assert places(ref for part in rest for ref in part.refs) == whole[row:]
            assert rest[0].row == row


def test_strategies_end_as_they_do_with_numbered_rows(tmp_path: Path) -> None:
    under = epoch_of(stream(tmp_path, mix=Mix("interleave_under"), shuffle=False), 0)
    assert under[:4] == [(0, 0), (1, 0), (0, 1), (1, 1)] and under[-1] == (1, 8) and len(under) == 18
    over = epoch_of(stream(tmp_path, mix=Mix("interleave_over")), 0)
    small = [row for dataset, row in over if dataset == 1]
    assert sorted(row for dataset, row in over if dataset == 0) == list(range(23))
    assert sorted(small[:9]) == sorted(small[9:18]) == list(range(9)) and small[:9] != small[9:18]
    once = epoch_of(stream(tmp_path, mix=Mix("interleave_once")), 0)
    assert len(once) == 32 and [dataset for dataset, _ in once] == [0, 1] * 9 + [0] * 14


def test_without_a_strategy_datasets_are_drawn_in_proportion_to_their_bytes(tmp_path: Path) -> None:
    mixed = epoch_of(stream(tmp_path, [900, 100]), 0)
    assert len(mixed) == 1000
    small = [number for number, (dataset, _) in enumerate(mixed) if dataset == 1]
    assert 300 < sum(small) / len(small) < 700 and small[-1] > 800


def test_shares_decide_how_often_a_dataset_is_drawn(tmp_path: Path) -> None:
    mixed = epoch_of(stream(tmp_path, [600, 600], mix=Mix("interleave_under", (0.75, 0.25))), 0)
    assert 0.7 < sum(dataset == 0 for dataset, _ in mixed) / len(mixed) < 0.8


def test_the_first_rows_are_held_out_of_every_epoch(tmp_path: Path) -> None:
    datasets = numbered_datasets(tmp_path, SIZES, streaming=True)
    held_out = hold_out_first(datasets, num_rows=11)
    assert [places(refs) for refs in held_out] == [[(0, row) for row in range(6)], [(1, row) for row in range(5)]]
    order = StreamOrder(datasets, seed=3, buffer_size=4, held_out=(6, 5))
    for epoch in (0, 1):
        assert sorted(epoch_of(order, epoch)) == [(0, row) for row in range(6, 23)] + [(1, row) for row in range(5, 9)]


def test_holding_out_all_of_a_dataset_is_refused(tmp_path: Path) -> None:
    datasets = numbered_datasets(tmp_path, SIZES, streaming=True)
    with pytest.raises(UsageError, match=r"val_size 18 holds out all of the 9 rows of .*b.*; lower it"):
        hold_out_first(datasets, num_rows=18)
