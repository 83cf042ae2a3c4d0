"""Files opened when they are due: few at a time, from many threads, and anew in another process."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.store.reading import addresses, written
from tunesmith.data.rows.open_files import OpenFiles
from tunesmith.data.rows.sources import DataFile


def test_more_files_than_stay_open(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{n}.json", json.dumps([{"n": n}])) for n in range(150)]
    files = OpenFiles([DataFile(str(path), path) for path in paths])
    first = files[0]
    for number in (*range(150), *range(150)):
        (address,) = addresses(files[number])
        assert files[number].read(address) == {"n": number}
    assert first is not files[0]
    assert first.read((1, 8)) == {"n": 0}  # whoever still reads it may go on


def test_a_copy_opens_its_own_files(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.json", "[{}]")
    files = OpenFiles([DataFile(str(path), path)])
    assert files[0] is files[0]
    assert pickle.loads(pickle.dumps(files))[0].read((1, 2)) == {}


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"n": n} for n in range(400)])
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=20)
    files = OpenFiles([DataFile("rows", tmp_path / "rows.parquet")])
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda n: files[0].read((n % 20, n // 20)), range(400)))
    assert rows == [{"n": n % 20 * 20 + n // 20} for n in range(400)]
