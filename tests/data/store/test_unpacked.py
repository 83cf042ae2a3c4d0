"""Gzipped files: unpacked once for each content, never half."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.data.store.reading import written
from tunesmith.data.store.unpacked import unpack
from tunesmith.errors import DataError


def test_a_file_is_unpacked_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path / "rows.jsonl.gz", gzip.compress(b"{}"))
    first = unpack(path)
    assert (first.suffix, first.read_bytes()) == (".jsonl", b"{}")
    made = first.stat().st_mtime_ns
    assert unpack(path) == first
    assert first.stat().st_mtime_ns == made
    written(path, gzip.compress(b"[]"))
    assert unpack(path).read_bytes() == b"[]"


def test_nothing_half_is_left_of_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="cannot be read"):
        unpack(written(tmp_path / "rows.jsonl.gz", gzip.compress(b"{}" * 1000)[:-4]))
    assert list((tmp_path / "cache" / "unpacked").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(written(tmp_path / "file", "")))
    with pytest.raises(DataError, match=r"cannot be unpacked into .*; make room, or set TUNESMITH_CACHE elsewhere"):
        unpack(written(tmp_path / "rows.jsonl.gz", gzip.compress(b"{}")))
