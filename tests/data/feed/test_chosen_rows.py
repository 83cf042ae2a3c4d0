"""Held-out rows are drawn by seed, and no row is on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.numbered import numbered_datasets, places, write_numbered
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.feed.chosen_rows import ChosenRows, all_rows, hold_out
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import UsageError


def rows_of(chosen: ChosenRows) -> list[tuple[int, int]]:
    return places(chosen.refs(range(len(chosen))))


def test_all_rows_are_numbered_dataset_after_dataset(tmp_path: Path) -> None:
    chosen = all_rows(numbered_datasets(tmp_path, [3, 2]))
    assert (len(chosen), chosen.sizes) == (5, (3, 2))
    assert places(chosen.refs([4, 0, 3, 2])) == [(1, 1), (0, 0), (1, 0), (0, 2)]


@pytest.mark.parametrize(("val_size", "count"), [(0.1, 3), (0.01, 1), (7, 7), (29, 29)])
def test_held_out_rows_are_a_share_rounded_up_or_a_number(tmp_path: Path, val_size: float, count: int) -> None:
    datasets = numbered_datasets(tmp_path, [20, 10])
    train, held_out = hold_out(datasets, val_size=val_size, seed=1)
    assert len(held_out) == count
    assert sorted(rows_of(train) + rows_of(held_out)) == rows_of(all_rows(datasets))
    assert rows_of(train) == sorted(rows_of(train)) and rows_of(held_out) == sorted(rows_of(held_out))


def test_the_seed_draws_them(tmp_path: Path) -> None:
    datasets = numbered_datasets(tmp_path, [50])
    drawn = [rows_of(hold_out(datasets, val_size=5, seed=seed)[1]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_row_drawn_several_times_is_on_one_side(tmp_path: Path) -> None:
    write_numbered(tmp_path / "a.jsonl", 10)
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({"a": {"file_name": "a.jsonl", "formatting": "openai", "num_samples": 35}})
    )
    data = DataSettings(dataset="a", dataset_dir=str(tmp_path))
    train, held_out = hold_out(open_datasets(("a",), Settings(data=data)), val_size=0.3, seed=0)
    assert len(held_out) == len(set(rows_of(held_out))) == 3
    assert len(set(rows_of(train))) == 7 and not set(rows_of(train)) & set(rows_of(held_out))


def test_a_file_that_is_two_datasets_is_held_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = (write_numbered(tmp_path / "a.jsonl", 20), "a.jsonl")
    datasets = open_datasets(names, Settings(data=DataSettings(dataset=names)))
    train, held_out = hold_out(datasets, val_size=5, seed=0)
    assert len(held_out) == 5 and len(train) == 30
    assert not {row for _, row in rows_of(train)} & {row for _, row in rows_of(held_out)}


def test_holding_out_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="val_size 3 holds out all of the 3 rows; lower it"):
        hold_out(numbered_datasets(tmp_path, [3]), val_size=3, seed=0)
