from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tunesmith.errors import RunError, UsageError
from tunesmith.export.target import RECORD, check_target, whole_folder, write_record


def check(target: Path, *, overwrite: bool = False, sources: tuple[Path, ...] = (), needed_bytes: int = 0) -> None:
    elsewhere = Path("/nowhere")
    check_target(target, sources=sources, copied=elsewhere, overwrite=overwrite, needed_bytes=needed_bytes)


def test_a_new_or_empty_folder_and_an_earlier_export_may_be_written(tmp_path: Path) -> None:
    check(tmp_path / "new/inner")
    check(tmp_path)
    write_record(tmp_path, {"base": "x"})
    check(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [RECORD]  # a check writes and deletes nothing


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty and no earlier export"):
        check(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        check(tmp_path, overwrite=True)  # no model: never deleted
    with pytest.raises(UsageError, match="is a file"):
        check(tmp_path / "letter.txt")


def test_a_model_may_be_replaced_where_the_user_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="overwrite_output_dir: true"):
        check(tmp_path)
    check(tmp_path, overwrite=True)


def test_what_the_export_reads_is_never_its_target(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which the export reads"):
        check(tmp_path, overwrite=True, sources=(tmp_path / "base",))
    with pytest.raises(UsageError, match="which the export reads"):
        check(tmp_path, overwrite=True, sources=(tmp_path,))


def test_an_export_does_not_go_into_the_folder_it_copies(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose a folder outside it"):
        check_target(tmp_path / "merged", sources=(), copied=tmp_path, overwrite=False, needed_bytes=0)


def test_a_disk_that_is_too_small_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"needs about 1000000000\.0 GB"):
        check(tmp_path / "out", needed_bytes=10**18)


def test_the_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep/out"
    with whole_folder(target) as folder:
        (folder / "model").write_text("new")
        assert not target.exists()
    assert (target / "model").read_text() == "new"
    assert [entry.name for entry in target.parent.iterdir()] == ["out"]


def test_a_failure_leaves_nothing_new_and_the_old_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_old(target)
    with pytest.raises(RunError, match="No space left"), whole_folder(target) as folder:
        (folder / "model").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (target / "model").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_old(target)
    with whole_folder(target) as folder:
        (folder / "model").write_text("new")
    assert [entry.name for entry in target.iterdir()] == ["model"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def write_old(target: Path) -> None:
    target.mkdir()
    (target / "model").write_text("old")
    (target / RECORD).write_text("{}")
