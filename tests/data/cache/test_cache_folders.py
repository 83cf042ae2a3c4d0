"""What the cache folder holds, and being rid of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.data.cache.cache_folders import clear_cache_folders, list_cache_folders
from tunesmith.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    for name in ("rows/a.npy", "downloads/b.jpg", "downloads/c.jpg", "mine/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_sizes(folder: Path) -> None:
    sizes = {found.name: (found.num_files, found.num_bytes) for found in list_cache_folders()}
    others = dict.fromkeys(["encodings", "unpacked", "hub", "references"], (0, 0))
    assert sizes == {"rows": (1, 5), "downloads": (2, 10), **others}
    assert [found.path for found in list_cache_folders(["rows"])] == [folder / "rows"]


def test_clearing_leaves_what_is_not_ours(folder: Path) -> None:
    assert sum(found.num_bytes for found in clear_cache_folders(["downloads"])) == 10
    assert not (folder / "downloads").exists() and (folder / "rows" / "a.npy").exists()
    clear_cache_folders()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["notes.txt"]


def test_an_unknown_name(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no cache 'media'; name one of encodings, rows"):
        clear_cache_folders(["media"])
    assert (folder / "downloads").exists()
