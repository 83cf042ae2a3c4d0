from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tunesmith.errors import ModelError
from tunesmith.models.files.weight_files import check_config, check_tokenizer, check_weights, weight_files

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 4976698672\n"


@pytest.fixture
def folder(qwen2_folder: Path, tmp_path: Path) -> Path:
    """A copy of a whole model folder, to be damaged."""
    return Path(shutil.copytree(qwen2_folder, tmp_path / "model"))


def test_a_whole_folder_passes(folder: Path) -> None:
    assert check_config(folder)["model_type"] == "qwen2"
    check_weights(folder)
    check_tokenizer(folder)


def test_a_download_that_broke_off_is_called_incomplete_with_both_sizes(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])

    with pytest.raises(ModelError, match="is incomplete") as error:
        check_weights(folder)

    assert str(file) in str(error.value)
    assert f"{len(whole) - 100:,} bytes, its header says {len(whole):,}" in str(error.value)
    assert "hf download OWNER/NAME model.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"abc", "does not start with a safetensors header"),
        (b"<html>404 not found</html>", "does not start with a safetensors header"),
        ((40).to_bytes(8, "little") + b"{not json", "unreadable safetensors header"),
        (LFS_POINTER.encode(), "git-lfs pointer"),
    ],
)
def test_a_damaged_weight_file_is_named(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)

    with pytest.raises(ModelError, match=says) as error:
        check_weights(folder)

    assert "model.safetensors" in str(error.value)


def test_absent_shards_are_counted_and_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    save_file({"a": torch.zeros(2)}, folder / "model-00001-of-00003.safetensors")
    names = {"a": "model-00001-of-00003.safetensors", "b": "model-00002-of-00003.safetensors"}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {**names, "c": "model-00003-of-00003.safetensors"}})
    )

    with pytest.raises(ModelError, match=r"3 weight files, and 2 of them are not there \(model-00002-of-00003"):
        check_weights(folder)


def test_shards_without_their_index_are_told_apart_from_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match=r"but no model\.safetensors\.index\.json"):
        check_weights(folder)

    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        check_weights(folder)


def test_older_files_are_found(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(2)}, folder / "pytorch_model.bin")

    assert weight_files(folder) == [folder / "pytorch_model.bin"]
    check_weights(folder)


def test_a_hub_cache_gives_the_repository_away_for_the_cure(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen3-4B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_text(LFS_POINTER)

    with pytest.raises(ModelError, match=r"hf download Qwen/Qwen3-4B model\.safetensors --force-download"):
        check_weights(snapshot)


def test_config_absent_broken_or_an_adapter(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "qwen2",')
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        check_config(folder)

    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        check_config(folder)

    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter, not a model: give it as adapter_name_or_path"):
        check_config(folder)


def test_tokenizer_absent_or_a_pointer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(LFS_POINTER)
    with pytest.raises(ModelError, match=r"tokenizer\.json is a git-lfs pointer"):
        check_tokenizer(folder)

    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        check_tokenizer(folder)
