"""Which files a dataset consists of: one, a folder's, or a range of shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.store.reading import ROWS, rows_of, written
from tunesmith.data.rows.sources import DataFile, expand_range, list_files
from tunesmith.errors import DataError


def test_a_folder_is_its_files_in_order_without_what_is_hidden_or_no_data(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", ".hidden.json", "README.md"):
        written(tmp_path / name, "[]")
    (tmp_path / "images").mkdir()
    assert list_files(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]


def test_a_dataset_saved_to_disk_is_a_folder(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (file,) = list_files(tmp_path / "saved")
    assert rows_of(file) == ROWS


def test_a_range_is_its_shards_in_order(tmp_path: Path) -> None:
    shards = [written(tmp_path / f"data-{number:03}.jsonl", json.dumps(ROWS[0])) for number in range(8, 12)]
    assert list_files(tmp_path / "data-{008..011}.jsonl") == shards


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a-{0..2}.tar", ["a-0.tar", "a-1.tar", "a-2.tar"]),
        ("a-{09..10}.tar", ["a-09.tar", "a-10.tar"]),
        ("{0..1}/b{1..2}.tar", ["0/b1.tar", "0/b2.tar", "1/b1.tar", "1/b2.tar"]),
        ("a.tar", []),
    ],
)
def test_numbers_are_padded_like_the_first(pattern: str, paths: list[str]) -> None:
    assert expand_range(Path(pattern)) == [Path(path) for path in paths]


def test_what_cannot_be_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        list_files(tmp_path / "gone")
    with pytest.raises(DataError, match="holds no data files"):
        list_files(tmp_path)
    with pytest.raises(DataError, match=r"rows\.xlsx: files ending in \.xlsx are not read; expected \.json, "):
        list_files(written(tmp_path / "rows.xlsx", ""))
    written(tmp_path / "a-0.json", "[]")
    with pytest.raises(DataError, match=r"2 of its 3 files do not exist, the first .*a-1\.json"):
        list_files(tmp_path / "a-{0..2}.json")
    written(tmp_path / "b.csv", "q\n")
    with pytest.raises(DataError, match="mixes csv and json files"):
        list_files(tmp_path)


def test_the_version_of_a_file_goes_by_its_content_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    paths = [written(tmp_path / name, "[{}]") for name in ("rows.json", "copy/rows.json")]
    first, second = (DataFile(str(path), path).version() for path in paths)
    assert first == second
    assert DataFile("rows", written(paths[0], "[{ }]")).version() != first
