"""An epoch's order is a function of seed and epoch, holds every row as the mix says, and starts anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.numbered import numbered_datasets, numbered_row, places
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.feed.chosen_rows import all_rows
from tunesmith.data.feed.mixing import Mix
from tunesmith.data.feed.order import EpochOrder, ListedOrder, Order, shuffle_blocks
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.rows.dataset import Dataset, open_datasets


def epoch_of(order: Order, epoch: int, *, row: int = 0, size: int = 3) -> list[tuple[int, int]]:
    chunks = list(order.chunks(FeedPosition(epoch, row), size=size))
    assert [chunk.row for chunk in chunks] == list(range(row, row + size * len(chunks), size))
    return places(ref for chunk in chunks for ref in chunk.refs)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Dataset, ...]:
    return numbered_datasets(tmp_path, [10, 4])


def test_one_dataset_is_permuted_by_seed_and_epoch(tmp_path: Path) -> None:
    rows = all_rows(numbered_datasets(tmp_path, [100]))
    orders = [tuple(EpochOrder(rows, seed).numbers(epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len(set(orders)) == 4
    assert orders[3] == tuple(np.random.default_rng([1, 1]).permutation(100).tolist())


def test_without_shuffling_rows_keep_their_order(two: tuple[Dataset, ...]) -> None:
    order = EpochOrder(all_rows(two), shuffle=False)
    assert epoch_of(order, 0) == epoch_of(order, 5) == [(0, row) for row in range(10)] + [(1, row) for row in range(4)]
    assert order.random(FeedPosition()) is None
    assert epoch_of(EpochOrder(all_rows(two), shuffle=False, mix=Mix("interleave_under")), 0)[:4] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]


def test_datasets_are_shuffled_together(two: tuple[Dataset, ...]) -> None:
    order = EpochOrder(all_rows(two), seed=3)
    epochs = [epoch_of(order, epoch) for epoch in range(20)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs) and len(set(map(tuple, epochs))) == 20
    assert {dataset for epoch in epochs for dataset, _ in epoch[:3]} == {0, 1}


@pytest.mark.parametrize("row", [0, 1, 7, 13, 14])
@pytest.mark.parametrize("strategy", ["concat", "interleave_over"])
def test_an_epoch_starts_at_any_row(two: tuple[Dataset, ...], strategy: str, row: int) -> None:
    order = EpochOrder(all_rows(two), seed=3, mix=Mix(strategy))  # type: ignore[arg-type]
    assert epoch_of(order, 2, row=row, size=4) == epoch_of(order, 2)[row:]


def test_mixed_datasets_are_shuffled_anew_in_every_pass(two: tuple[Dataset, ...]) -> None:
    order = EpochOrder(all_rows(two), mix=Mix("interleave_over"))
    small = [row for dataset, row in epoch_of(order, 0) if dataset == 1]
    passes = [small[:4], small[4:8]]
    assert [sorted(part) for part in passes] == [[0, 1, 2, 3]] * 2
    assert passes[0] != passes[1]
    assert order.num_rows(0) == 20


def test_the_number_of_rows_is_known_before_an_epoch_is_drawn(two: tuple[Dataset, ...]) -> None:
    order = EpochOrder(all_rows(two), mix=Mix("interleave_under", (0.6, 0.4)))
    assert [order.num_rows(epoch) for epoch in range(9)] == [len(epoch_of(order, epoch)) for epoch in range(9)]
    assert len({order.num_rows(epoch) for epoch in range(9)}) > 1


def test_row_groups_of_parquet_files_are_decoded_once(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("x", "y"):
        table = pa.Table.from_pylist([numbered_row(row) for row in range(3000)])
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=300)
    names = (str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet"))
    datasets = open_datasets(names, Settings(data=DataSettings(dataset=",".join(names))))
    order = EpochOrder(all_rows(datasets), seed=5)
    refs = [ref for chunk in order.chunks(FeedPosition(), size=100) for ref in chunk.refs]
    assert len(set(refs)) == 6000
    for dataset in (0, 1):
        groups = [ref.address[0] for ref in refs if ref.dataset == dataset]
        open_groups = [len(set(groups[start : start + 300])) for start in range(0, 3000, 300)]
        assert max(open_groups) == 1
        assert list(dict.fromkeys(groups)) != sorted(set(groups))
    assert Counter(ref.dataset for ref in refs[:600]).most_common()[-1][1] > 200


def test_small_blocks_are_shuffled_among_each_other() -> None:
    blocks = np.repeat(np.arange(100), 64)
    numbers = shuffle_blocks(blocks, random=np.random.default_rng(0))
    assert sorted(numbers.tolist()) == list(range(6400))
    together = [set(blocks[numbers[start : start + 512]].tolist()) for start in range(0, 6400, 512)]
    assert [len(part) for part in together] == [8] * 12 + [4]
    assert blocks[numbers[:8]].tolist() != sorted(blocks[numbers[:8]].tolist())


def test_listed_rows_come_as_they_are_listed(two: tuple[Dataset, ...]) -> None:
    order = ListedOrder(tuple(two[0].ref(row) for row in (4, 2, 8)))
    assert epoch_of(order, 7, row=1) == [(0, 2), (0, 8)]
    assert (order.num_rows(0), order.random(FeedPosition())) == (3, None)


def test_a_window_has_randomness_of_its_own(two: tuple[Dataset, ...]) -> None:
    order = EpochOrder(all_rows(two), seed=3)
    places = [FeedPosition(0, 0), FeedPosition(0, 5), FeedPosition(1, 0)]
    drawn = [generator.integers(1 << 60) for place in places if (generator := order.random(place))]
    assert len(set(drawn)) == 3
