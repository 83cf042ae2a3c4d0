"""Parquet: which row groups are kept in memory, and for how long."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.data.store.parquet_rows import ParquetRows
from tunesmith.errors import DataError


def write_groups(path: Path, num_groups: int) -> Path:
    rows = [{"n": n, "image": bytes([n]) * 1000} for n in range(num_groups)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1, compression="none")
    return path


def test_row_groups_stay_while_the_memory_allows_and_the_least_used_goes_first(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "rows.parquet", 4)
    file = ParquetRows(path, max_kept_bytes=2500)
    for group in (0, 1, 0, 2):
        assert file.read((group, 0))["n"] == group
    path.write_bytes(path.read_bytes().replace(b"\x00" * 1000, b"\x09" * 1000).replace(b"\x01" * 1000, b"\x09" * 1000))
    assert file.read((0, 0))["image"] == b"\x00" * 1000  # kept
    assert file.read((1, 0))["image"] == b"\x09" * 1000  # read again


def test_a_row_group_beyond_the_memory_is_read_all_the_same(tmp_path: Path) -> None:
    file = ParquetRows(write_groups(tmp_path / "rows.parquet", 2), max_kept_bytes=10)
    assert [file.read((group, 0))["n"] for group in (1, 0, 1)] == [1, 0, 1]


def test_a_broken_row_group_is_named(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "rows.parquet", 2)
    content = path.read_bytes()
    path.write_bytes(b"PAR1" + b"\xff" * 200 + content[204:])
    with pytest.raises(DataError, match="is not a sound Parquet file"):
        ParquetRows(path).read((0, 0))
