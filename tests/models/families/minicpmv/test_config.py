"""A published config.json is read into what transformers builds from, and written back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny.minicpm import published_config, write_files
from tunesmith.errors import ModelError
from tunesmith.models.families.minicpmv.config import MiniCPMVConfig
from tunesmith.models.families.minicpmv.language import language_of_weights
from tunesmith.models.load import load_config

KINDS = ("minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5")


def change(file: Path, **changes: Any) -> None:
    """Set keys of a JSON file; those set to None are taken out."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def written(config: MiniCPMVConfig, folder: Path) -> dict[str, Any]:
    config.save_pretrained(folder)
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_was_read(kind: str, tmp_path: Path) -> None:
    write_files(kind, tmp_path)
    published = json.loads((tmp_path / "config.json").read_text())

    config = load_config(tmp_path)
    content = written(config, tmp_path / "again")

    marks = content.pop("media_token_ids")
    assert content == {**published, "dtype": "float32"}
    assert set(marks) == {"unk", "image_start", "image_end", "slice_start", "slice_end"}
    assert written(load_config(tmp_path / "again"), tmp_path / "third") == {**content, "media_token_ids": marks}


@pytest.mark.parametrize(("kind", "language"), zip(KINDS, ("qwen2", "llama", "qwen3"), strict=True))
def test_the_flat_keys_are_the_language_models(kind: str, language: str) -> None:
    config = MiniCPMVConfig(**published_config(kind), vocab_size=600)

    text = config.get_text_config()

    assert text.model_type == language
    assert (text.hidden_size, text.num_key_value_heads, text.vocab_size) == (128, 1, 600)
    assert config.vision_config.hidden_size == 32
    assert config.tie_word_embeddings == text.tie_word_embeddings == (kind == "minicpmv_4_0")
    assert config.batch_3d_resampler == (kind == "minicpmv_4_5")


def test_rope_is_read_whole_and_a_change_of_it_is_written_flat(tmp_path: Path) -> None:
    config = MiniCPMVConfig(**published_config("minicpmv_4_0"))

    assert config.text_config.rope_parameters["rope_type"] == "longrope"
    assert len(config.text_config.rope_parameters["short_factor"]) == 32
    config.text_config.rope_parameters = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 5000.0}

    content = written(config, tmp_path)
    assert content["rope_theta"] == 5000.0
    assert content["rope_scaling"] == {"rope_type": "yarn", "factor": 2.0}


def test_a_grown_vocabulary_and_another_format_are_written_where_the_published_code_reads_them(tmp_path: Path) -> None:
    config = MiniCPMVConfig(**published_config("minicpmv_2_6"), vocab_size=600)
    config.get_text_config().vocab_size = 640
    config.dtype = torch.bfloat16

    content = written(config, tmp_path)

    assert (content["vocab_size"], content["torch_dtype"], content["dtype"]) == (640, "bfloat16", "bfloat16")
    assert "text_config" not in content
    assert "rope_parameters" not in content


def test_a_dropped_last_layer_is_not_built() -> None:
    published = {**published_config("minicpmv_2_6"), "drop_vision_last_layer": True}

    assert MiniCPMVConfig(**published).vision_config.num_hidden_layers == 1
    assert MiniCPMVConfig(**published).to_dict()["vision_config"]["num_hidden_layers"] == 2


def test_stored_weights_say_which_language_model_it_is_before_the_version_does(tmp_path: Path) -> None:
    write_files("minicpmv_4_5", tmp_path)
    save_file({"llm.model.layers.0.self_attn.q_proj.bias": torch.zeros(4)}, tmp_path / "model.safetensors")

    assert load_config(tmp_path).get_text_config().model_type == "qwen2"


@pytest.mark.parametrize(
    ("names", "language"),
    [
        (["q_proj.weight", "q_proj.bias"], "qwen2"),
        (["q_proj.weight", "q_norm.weight"], "qwen3"),
        (["q_proj.weight"], "llama"),
        ([], None),
    ],
)
def test_languages_by_their_weights(names: list[str], language: str | None) -> None:
    stored = [f"llm.model.layers.0.self_attn.{name}" for name in names]

    assert language_of_weights([*stored, "vpm.encoder.layers.0.self_attn.q_proj.bias"]) == language


@pytest.mark.parametrize(("version", "shown"), [("2.5", r"'2\.5'"), (None, "None")])
def test_other_versions_are_named_as_such(version: str | None, shown: str, tmp_path: Path) -> None:
    write_files("minicpmv_2_6", tmp_path)
    change(tmp_path / "config.json", version=version)

    with pytest.raises(ModelError, match=rf"version is {shown}, and .* reads 2\.6, 4\.0 and 4\.5"):
        load_config(tmp_path)


def test_marks_are_read_from_tokenizer_json_where_tokenizer_config_lists_none(tmp_path: Path) -> None:
    write_files("minicpmv_2_6", tmp_path)
    listed = load_config(tmp_path).media_token_ids
    change(tmp_path / "tokenizer_config.json", added_tokens_decoder=None)

    assert load_config(tmp_path).media_token_ids == listed


def test_a_checkpoint_without_a_tokenizer_keeps_the_marks_it_was_saved_with(tmp_path: Path) -> None:
    write_files("minicpmv_2_6", tmp_path)
    config = load_config(tmp_path)
    written(config, tmp_path / "checkpoint")

    assert load_config(tmp_path / "checkpoint").media_token_ids == config.media_token_ids


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    write_files("minicpmv_2_6", tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    change(tmp_path / "tokenizer.json", added_tokens=[{"content": "<image>", "id": 7}])

    with pytest.raises(ModelError, match="no tokens for image_end, slice_start, slice_end"):
        load_config(tmp_path)
