"""Run folders below a folder: which are found, and what is said where the search stops."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.runs.folders import ended, write_run
from tunesmith.errors import RunError, UsageError
from tunesmith.runs.find import Bounds, find_runs, require_run


def test_runs_are_found_and_what_is_inside_them_is_not_taken_for_one(tmp_path: Path) -> None:
    outer = write_run(tmp_path / "saves" / "a", ended("finished"), checkpoints=(5,))
    inner = write_run(outer / "second", ended("finished"))
    older = write_run(tmp_path / "b")  # has no status.json
    write_run(tmp_path / ".hidden", ended("finished"))
    write_run(outer / "checkpoints" / "step-6", ended("finished"))
    (tmp_path / "settings alone").mkdir()
    (tmp_path / "settings alone" / "run.yaml").touch()
    (tmp_path / "link").symlink_to(outer)
    found = find_runs([tmp_path])
    assert found.runs == [older, outer, inner]
    assert found.gaps() == []


def test_a_run_that_is_named_is_found_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ended("finished"))
    assert find_runs([run, tmp_path]).runs == [run]


@pytest.mark.parametrize(
    ("bounds", "num_runs", "gap"),
    [
        (Bounds(depth=2), 1, None),
        (Bounds(folders=3), 0, r"looked into 3 folders, as far as .*; name a folder to see more"),
        (Bounds(seconds=-1.0), 0, r"looked into 0 folders"),
        (Bounds(entries=3), 0, r"1 folder with too many entries left out: .*"),
    ],
)
def test_the_search_is_bounded_and_says_so(tmp_path: Path, bounds: Bounds, num_runs: int, gap: str | None) -> None:
    for name in "abcd":
        write_run(tmp_path / name / ("er" if name == "a" else "deep/er"), ended("finished"))
    found = find_runs([tmp_path], bounds)
    assert len(found.runs) == num_runs
    assert [bool(re.search(gap or "", said)) for said in found.gaps()] == ([] if gap is None else [True])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", UsageError, "nowhere does not exist; name a folder"),
        ("file", UsageError, "file is a file; name a folder"),
        ("empty", RunError, r"empty holds no run \(no status.json, no run.yaml\)"),
    ],
)
def test_what_is_no_run_is_said(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        require_run(tmp_path / name)
