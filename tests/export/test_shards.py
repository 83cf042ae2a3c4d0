from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from tunesmith.export.shards import ShardWriter


def tensors() -> dict[str, torch.Tensor]:
    """Five tensors of 400 bytes and one of 1,200."""
    small = {f"layer.{index}": torch.full((100,), float(index)) for index in range(5)}
    return small | {"large": torch.ones(300)}


def write(folder: Path, *, shard_bytes: int, legacy: bool = False) -> list[str]:
    writer = ShardWriter(folder, shard_gb=shard_bytes / 1e9, legacy=legacy)
    for key, tensor in tensors().items():
        writer.add(key, tensor)
    return writer.finish()


def test_no_file_is_larger_than_asked_but_for_a_single_tensor(tmp_path: Path) -> None:
    names = write(tmp_path, shard_bytes=800)
    assert names == [f"model-{index:05d}-of-00004.safetensors" for index in (1, 2, 3, 4)]
    sizes = [sum(tensor.nbytes for tensor in load_file(tmp_path / name).values()) for name in names]
    assert sizes == [800, 800, 400, 1200]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names, "model.safetensors.index.json"]


def test_the_index_says_where_every_key_is(tmp_path: Path) -> None:
    write(tmp_path, shard_bytes=800)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 3200}
    assert index["weight_map"].keys() == tensors().keys()
    for key, name in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / name)[key], tensors()[key])


def test_what_fits_is_one_file_without_an_index(tmp_path: Path) -> None:
    assert write(tmp_path, shard_bytes=10_000) == ["model.safetensors"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_bin_files_hold_no_more_than_their_own_tensors(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, shard_gb=1, legacy=True)
    whole = torch.arange(1_000_000.0)
    writer.add("view", whole[:10])
    assert writer.finish() == ["pytorch_model.bin"]
    assert (tmp_path / "pytorch_model.bin").stat().st_size < 10_000
    assert torch.equal(torch.load(tmp_path / "pytorch_model.bin", weights_only=True)["view"], whole[:10])


def test_the_main_format_is_that_of_most_bytes(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, shard_gb=1)
    writer.add("a", torch.zeros(10, dtype=torch.float32))
    writer.add("b", torch.zeros(100, dtype=torch.bfloat16))
    assert writer.main_dtype == torch.bfloat16
