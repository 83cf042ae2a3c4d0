"""The addresses of all rows: the same ones however they are come by, kept once, never those of another file."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from tests.data.store.reading import addresses, written
from tunesmith.data.store import index
from tunesmith.data.store.address import Address
from tunesmith.data.store.index import RowIndex, index_rows
from tunesmith.data.store.kinds import open_row_file
from tunesmith.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that keeps addresses, of small files too."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_MIN_KEPT_BYTES", 0)
    return tmp_path / "cache" / "rows"


def lines(path: Path, count: int) -> Path:
    return written(path, "".join(json.dumps({"n": n}) + "\n" for n in range(count)))


def indexed(path: Path, at_most: int | None = None) -> RowIndex:
    return index_rows(open_row_file(path), path, at_most=at_most)


def listed(found: RowIndex) -> list[Address]:
    return [found[row] for row in range(len(found))]


def test_rows_are_found_once_and_mapped_from_then_on(tmp_path: Path, cache: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", 5000)
    found = listed(indexed(path))
    assert found == addresses(open_row_file(path))
    (kept,) = cache.iterdir()
    first_kept = kept.stat().st_mtime_ns
    assert listed(indexed(path)) == found
    assert kept.stat().st_mtime_ns == first_kept


def test_an_empty_list_and_a_list_of_one(tmp_path: Path) -> None:
    for rows in ([], [{}]):
        assert len(indexed(written(tmp_path / "rows.json", json.dumps(rows)))) == len(rows)


def test_a_changed_file_is_looked_through_again(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", 10)
    assert len(indexed(path)) == 10
    status = path.stat()
    content = path.read_bytes().replace(b'{"n": 5}\n', b'{"n":\n5}\n')
    written(path, content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(indexed(path)) == 11  # same size and time of change, other ends
    written(path, content + b'{"n": 10}\n')
    assert len(indexed(path)) == 12


def test_the_first_rows_are_found_without_the_rest(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "rows.json", '[{"n": 0}, {"n": 1}, {"n": ' + " " * (3 << 20))
    assert listed(indexed(path, at_most=2)) == [(1, 8), (10, 9)]
    assert not cache.exists()
    with pytest.raises(DataError, match="row 2"):
        indexed(path)
    assert list(cache.iterdir()) == []  # nothing unfinished is left


def test_files_that_count_their_rows_are_not_looked_through(tmp_path: Path, cache: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"n": range(7)}), tmp_path / "rows.parquet", row_group_size=3)
    assert listed(indexed(tmp_path / "rows.parquet")) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert not cache.exists()


def test_without_a_folder_to_write_in_the_rows_are_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(written(tmp_path / "file", "no folder")))
    assert len(indexed(lines(tmp_path / "rows.jsonl", 9))) == 9


def _index_in_process(path: Path) -> list[Address]:
    index._MIN_KEPT_BYTES = 0
    return listed(indexed(path))


def test_two_processes_find_the_rows_at_once(tmp_path: Path, cache: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", 20_000)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_index_in_process, [path, path], chunksize=1)
    assert first == second == addresses(open_row_file(path))
    assert len(list(cache.iterdir())) == 1
