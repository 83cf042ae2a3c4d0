"""Whole or not at all."""

from __future__ import annotations

import errno

import pytest

from tunesmith.errors import ModelError, RunError
from tunesmith.train.folder.atomic import move_files, remove_folder, remove_leftovers, write_text, writing_folder


def test_a_folder_appears_only_when_complete(tmp_path):
    final = tmp_path / "step-1"
    with writing_folder(final) as draft:
        (draft / "weights").write_text("new")
        assert not final.exists()
    assert (final / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_an_older_folder_is_replaced_as_a_whole(tmp_path):
    final = tmp_path / "step-1"
    final.mkdir()
    (final / "old").touch()
    with writing_folder(final) as draft:
        (draft / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file: No space left on device"),
        ModelError("the adapter cannot be written"),
    ],
)
def test_a_full_disk_is_one_message_and_leaves_what_was_there(tmp_path, failure):
    final = tmp_path / "step-1"
    final.mkdir()
    (final / "weights").write_text("old")
    with pytest.raises(RunError, match=r"step-1 cannot be written: .*GB free there"), writing_folder(final) as draft:
        (draft / "weights").write_text("half")
        raise failure
    assert (final / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_text_is_replaced_in_one_go(tmp_path):
    file = tmp_path / "run.yaml"
    write_text(file, "one")
    write_text(file, "two")
    assert file.read_text() == "two"
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "absent" / "run.yaml", "three")


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    for name in (".writing-step-3", ".removing-step-1", "step-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / ".writing-run.yaml").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]
    remove_folder(tmp_path / "step-2")
    assert not list(tmp_path.iterdir())


def test_files_are_moved_over_those_of_the_same_name(tmp_path):
    source, target = tmp_path / "final", tmp_path
    (source / "sub").mkdir(parents=True)
    (source / "model").write_text("new")
    (source / "sub" / "part").write_text("part")
    (target / "model").write_text("old")
    move_files(source, target)
    assert (target / "model").read_text() == "new"
    assert (target / "sub" / "part").read_text() == "part"


def test_a_model_is_not_taken_for_complete_before_its_weights_are_moved(tmp_path):
    """A kill in the middle is stood in for by a weight file that cannot take its place."""
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "adapter_config.json").touch()
    (tmp_path / "final" / "adapter_model.safetensors").touch()
    (tmp_path / "adapter_model.safetensors").mkdir()
    with pytest.raises(RunError):
        move_files(tmp_path / "final", tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()
