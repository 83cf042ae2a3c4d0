"""Where the weight of a score head may lie, and that a folder can be judged by names alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tunesmith.errors import ModelError
from tunesmith.models.files.score_weight import gives_scores, read_score_weight

HEAD = torch.tensor([[1.0, 2.0, 3.0]])
OTHER = {"model.norm.weight": torch.ones(3)}


def in_one_file(folder: Path) -> None:
    save_file({**OTHER, "score.weight": HEAD}, folder / "model.safetensors")


def in_shards(folder: Path) -> None:
    save_file(OTHER, folder / "model-1.safetensors")
    save_file({"score.weight": HEAD}, folder / "model-2.safetensors")
    places = {"model.norm.weight": "model-1.safetensors", "score.weight": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def in_pickled_shards(folder: Path) -> None:
    torch.save({**OTHER, "score.weight": HEAD}, folder / "pytorch_model-1.bin")
    places = dict.fromkeys(("model.norm.weight", "score.weight"), "pytorch_model-1.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


def inside_a_larger_model(folder: Path) -> None:
    save_file({"thinker.norm.weight": torch.ones(3), "thinker.score.weight": HEAD}, folder / "model.safetensors")


def beside_a_model(folder: Path) -> None:
    save_file(OTHER, folder / "model.safetensors")
    save_file({"v_head.summary.weight": HEAD, "v_head.summary.bias": torch.zeros(1)}, folder / "value_head.safetensors")


def pickled_beside_a_model(folder: Path) -> None:
    save_file(OTHER, folder / "model.safetensors")
    torch.save({"v_head.summary.weight": HEAD}, folder / "value_head.bin")


@pytest.mark.parametrize(
    "write",
    [in_one_file, in_shards, in_pickled_shards, inside_a_larger_model, beside_a_model, pickled_beside_a_model],
)
def test_it_is_found_wherever_it_lies(write, tmp_path: Path) -> None:
    write(tmp_path)
    found = read_score_weight(tmp_path)
    assert found is not None
    assert torch.equal(found, HEAD)
    assert gives_scores(tmp_path)


def test_a_layer_of_that_name_inside_the_model_is_none(tmp_path: Path) -> None:
    save_file({"model.layers.0.score.weight": HEAD}, tmp_path / "model.safetensors")
    assert read_score_weight(tmp_path) is None
    assert not gives_scores(tmp_path)


def test_an_adapter_says_so_in_its_config(tmp_path: Path) -> None:
    for saved, scores in ((["score"], True), (["embed_tokens"], False), (None, False)):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"modules_to_save": saved}))
        assert gives_scores(tmp_path) is scores


def test_files_that_are_not_what_their_names_say(tmp_path: Path) -> None:
    save_file({"score.weight": torch.ones(3, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="gives 3 scores for a text, as classifiers do"):
        read_score_weight(tmp_path)
    save_file(OTHER, tmp_path / "model.safetensors")
    save_file(OTHER, tmp_path / "value_head.safetensors")
    with pytest.raises(ModelError, match=r"has no v_head\.summary\.weight"):
        read_score_weight(tmp_path)
