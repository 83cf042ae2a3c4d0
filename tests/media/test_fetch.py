"""The same bytes, whatever names them."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

import pytest

from tests.media.web_server import CONTENT, serve_site
from tunesmith.chat.message import Media
from tunesmith.errors import DataError
from tunesmith.media.fetch import FileSpan, find_content, open_content


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def read(source: str | bytes) -> bytes:
    with open_content(find_content(Media("image", source))) as file:
        return file.read()


def test_every_kind_of_source_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "with space.bin"
    path.write_bytes(CONTENT)
    archive = write_tar(tmp_path / "shard.tar", {"other": b"x" * 700, "a/b.bin": CONTENT})
    with serve_site() as site:
        assert read(f"{site.address}/file") == CONTENT
    assert read(CONTENT) == CONTENT
    assert read(str(path)) == CONTENT
    assert read(f"file://{tmp_path}/with%20space.bin") == CONTENT
    assert read("data:image/png;base64," + base64.b64encode(CONTENT).decode()) == CONTENT
    assert read(f"{archive}::a/b.bin") == CONTENT


def test_a_member_reads_and_seeks_like_a_file_of_its_own(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "shard.tar", {"before": b"b" * 10, "digits": b"0123456789", "after": b"a" * 10})
    content = find_content(Media("image", f"{archive}::digits"))
    assert isinstance(content, FileSpan)
    with open_content(content) as file:
        assert file.seek(0, io.SEEK_END) == 10
        assert (file.seek(-3, io.SEEK_END), file.read()) == (7, b"789")
        assert (file.seek(2), file.read(3), file.tell()) == (2, b"234", 5)
        assert (file.seek(20), file.read()) == (20, b"")


def test_a_changed_file_is_another_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = find_content(Media("image", str(path)))
    path.write_bytes(b"three")
    assert find_content(Media("image", str(path))) != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("data:image/png,abc", r"a data: URI of 18 characters>: not base64"),
        ("data:image/png;base64,a~b=", "broken base64"),
        ("/nowhere/picture.png", r"/nowhere/picture\.png: cannot be read \(No such file or directory\)"),
        ("a\0b", r"a\\x00b'?: cannot be read \(embedded null byte\)"),
        ("/nowhere/shard.tar::a.png", r"shard\.tar::a\.png: cannot be read"),
        ("shard.tar.gz::a.png", r"repack shard\.tar\.gz as an uncompressed \.tar"),
        ("/", r"/: cannot be read \(not a file\)"),
    ],
)
def test_what_cannot_be_found_is_named(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_content(Media("image", source))


def test_a_list_of_frames_is_no_single_file() -> None:
    with pytest.raises(DataError, match="a list of frames is a video"):
        find_content(Media("video", ("a.png", "b.png")))
