"""tar archives laid out like WebDataset: members of one name are one row, contents are read with their row."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.store.reading import addresses, rows_of
from tunesmith.data.store import tar_rows
from tunesmith.data.store.kinds import open_row_file
from tunesmith.data.store.row_file import Unreadable
from tunesmith.errors import DataError


def archive(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


def test_members_of_one_name_are_one_row_with_their_media_in_order(tmp_path: Path) -> None:
    members = {
        "a/001.json": b'{"q": "two?", "n": 1}',
        "a/001.0.png": b"first",
        "a/001.1.png": b"second",
        "a/002.txt": "你好".encode(),
        "a/002.mp4": b"clip",
        "a/002.wav": b"sound",
        "README": b"no row",
        "a/003.cls": b"7",
    }
    assert rows_of(archive(tmp_path / "rows.tar", members)) == [
        {
            "__key__": "a/001",
            "q": "two?",
            "n": 1,
            "0.png": b"first",
            "1.png": b"second",
            "images": [b"first", b"second"],
        },
        {"__key__": "a/002", "txt": "你好", "mp4": b"clip", "wav": b"sound", "videos": [b"clip"], "audios": [b"sound"]},
        {"__key__": "a/003", "cls": "7"},
    ]


def test_a_column_that_names_members_gets_their_contents(tmp_path: Path) -> None:
    row = {"images": ["b.right.jpg", "b.left.jpg", "https://x/y.png"]}
    members = {"d/b.json": json.dumps(row).encode(), "d/b.left.jpg": b"L", "d/b.right.jpg": b"R"}
    (found,) = rows_of(archive(tmp_path / "rows.tar", members))
    assert found["images"] == [b"R", b"L", "https://x/y.png"]


@pytest.mark.parametrize("headers_at_once", [1, 2, 1000])
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_row_is_found_and_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers_at_once: int, tar_format: int
) -> None:
    monkeypatch.setattr(tar_rows, "_HEADERS_AT_ONCE", headers_at_once)
    long = "d" * 90 + "/" + "k" * 30
    members = {f"{long}{n}.{ending}": f"{n}".encode() * (n * 300) for n in range(5) for ending in ("txt", "jpg")}
    file = open_row_file(archive(tmp_path / "rows.tar", members, format=tar_format))
    found = addresses(file)
    assert [file.read(address)["txt"] for address in found] == [f"{n}" * (n * 300) for n in range(5)]
    for number, start in enumerate(found):
        assert addresses(file, start) == found[number:]


def test_a_row_whose_json_is_broken_stands_in_its_place(tmp_path: Path) -> None:
    first, second = rows_of(archive(tmp_path / "rows.tar", {"a.json": b"{", "b.json": b'{"q": 1}'}))
    assert isinstance(first, Unreadable)
    assert first.reason.startswith("a.json: ")
    assert second == {"__key__": "b", "q": 1}


def test_an_archive_that_is_cut_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "rows.tar", {"a.txt": b"x", "b.jpg": b"y" * 5000})
    whole = path.read_bytes()
    for length in (512, 1100, 3000):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"rows\.tar .*; was the file copied or downloaded completely\?"):
            rows_of(path)


def test_the_content_of_a_row_is_not_when_and_by_whom_it_was_packed(tmp_path: Path) -> None:
    files = [
        open_row_file(archive(tmp_path / f"{tar_format}.tar", {"a.txt": b"x"}, format=tar_format))
        for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    assert files[0].raw(addresses(files[0])[0]) == files[1].raw(addresses(files[1])[0])
