"""Members of tar archives are found without unpacking, and only where they are."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.media.test_fetch import read, write_tar
from tunesmith.errors import DataError
from tunesmith.media.archive import split_member


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("shard.tar::a/b.png", ("shard.tar", "a/b.png")),
        ("https://host/shard.tar::a.png", ("https://host/shard.tar", "a.png")),
        ("shard.tar", None),
        ("a::b.png", None),
        ("shard.tar::", None),
    ],
)
def test_a_member_is_named_behind_two_colons(source: str, expected: tuple[str, str] | None) -> None:
    assert split_member(source) == expected


def test_every_member_of_a_large_archive_is_found(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "many.tar", {f"{n:05}.txt": str(n).encode() * (n % 300) for n in range(1000)})
    assert [read(f"{archive}::{n:05}.txt") for n in (0, 1, 299, 300, 999)] == [
        str(n).encode() * (n % 300) for n in (0, 1, 299, 300, 999)
    ]


def test_the_last_of_two_members_of_a_name_counts_and_a_leading_dot_does_not(tmp_path: Path) -> None:
    archive = tmp_path / "twice.tar"
    for number, mode in enumerate(("w", "a")):
        (tmp_path / "x").write_text(str(number))
        with tarfile.open(archive, mode) as file:
            file.add(tmp_path / "x", arcname="./x")
    assert read(f"{archive}::x") == read(f"{archive}::./x") == b"1"


def test_an_archive_that_changes_is_walked_again(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "shard.tar", {"a": b"1"})
    assert read(f"{archive}::a") == b"1"
    write_tar(archive, {"b": b"22", "a": b"3" * 20_000})
    assert read(f"{archive}::a") == b"3" * 20_000


def test_absent_members_and_links_are_refused(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "shard.tar", {"a": b"1"})
    with tarfile.open(archive, "a") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
    for member in ("gone", "link"):
        with pytest.raises(DataError, match=rf"shard\.tar::{member}: the archive has no such file \(1 members\)"):
            read(f"{archive}::{member}")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("hello" * 500)
    with pytest.raises(DataError, match=r"text\.tar: not a readable tar archive"):
        read(f"{tmp_path}/text.tar::a")
