from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen2_5_VLForConditionalGeneration, Qwen2ForCausalLM

from tests.models.given import batch_for, logits_of, settings_for
from tunesmith import extras
from tunesmith.errors import MissingExtraError, ModelError, UsageError
from tunesmith.models.load import attention_implementation, load_model


@pytest.fixture
def folder(qwen2_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Qwen2, to be changed."""
    return Path(shutil.copytree(qwen2_folder, tmp_path / "model"))


def edit_config(folder: Path, **changes: Any) -> None:
    """Change config.json; None removes a key."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def edit_weights(folder: Path, change: Any) -> None:
    """Rewrite model.safetensors after `change` has been at its dict of tensors."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_class_follows_from_the_config(qwen2_folder: Path, qwen2_5_vl_folder: Path) -> None:
    assert type(load_model(settings_for(qwen2_folder), trains=True)) is Qwen2ForCausalLM
    assert type(load_model(settings_for(qwen2_5_vl_folder), trains=True)) is Qwen2_5_VLForConditionalGeneration


def test_it_computes_what_transformers_own_loading_computes(qwen2_5_vl_folder: Path) -> None:
    batch = batch_for(qwen2_5_vl_folder, with_image=True)
    reference = AutoModelForImageTextToText.from_pretrained(qwen2_5_vl_folder)

    ours = load_model(settings_for(qwen2_5_vl_folder), trains=False)

    assert torch.equal(logits_of(ours, batch), logits_of(reference, batch))


def test_training_or_evaluation_mode(qwen2_folder: Path) -> None:
    assert load_model(settings_for(qwen2_folder), trains=True).training
    assert not load_model(settings_for(qwen2_folder), trains=False).training


@pytest.mark.parametrize(
    ("training", "tuning", "dtype"),
    [
        ({}, "lora", torch.float32),
        ({"bf16": True}, "lora", torch.bfloat16),
        ({"bf16": True}, "full", torch.float32),
        ({"fp16": True}, "lora", torch.float16),
        ({"fp16": True}, "freeze", torch.float32),
        ({"pure_bf16": True}, "full", torch.bfloat16),
    ],
)
def test_number_format_of_the_loaded_weights(
    qwen2_folder: Path, training: dict[str, bool], tuning: str, dtype: torch.dtype
) -> None:
    settings = settings_for(qwen2_folder, training=training, tuning={"finetuning_type": tuning})

    assert {parameter.dtype for parameter in load_model(settings, trains=True).parameters()} == {dtype}


def test_answering_keeps_the_checkpoints_format_unless_told(qwen2_folder: Path) -> None:
    assert load_model(settings_for(qwen2_folder, training={"bf16": True}), trains=False).dtype == torch.float32
    assert load_model(settings_for(qwen2_folder, infer_dtype="bfloat16"), trains=False).dtype == torch.bfloat16


def test_the_base_is_remembered_by_an_absolute_path(qwen2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(qwen2_folder.parent)

    assert load_model(settings_for(qwen2_folder.name), trains=True).name_or_path == str(qwen2_folder.resolve())


def test_older_weights_load(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")

    model = load_model(settings_for(folder), trains=True)

    assert torch.equal(model.state_dict()["model.norm.weight"], weights["model.norm.weight"])


def test_absent_weights_are_an_error_not_random_numbers(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))

    with pytest.raises(ModelError, match=r"lacks 1 of the model's weights \(model\.layers\.1\.mlp\.up_proj\.weight\)"):
        load_model(settings_for(folder), trains=True)


def test_an_absent_head_is_no_error_where_it_is_tied_and_one_where_it_is_not(folder: Path) -> None:
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    load_model(settings_for(folder), trains=True)

    edit_config(folder, tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        load_model(settings_for(folder), trains=True)


def test_weights_of_another_shape_are_an_error(folder: Path) -> None:
    edit_config(folder, intermediate_size=96)

    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(settings_for(folder), trains=True)


def test_weights_without_a_place_are_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_weights(folder, lambda weights: weights.update({"visitor.weight": torch.zeros(2)}))

    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        load_model(settings_for(folder), trains=True)

    assert "has 1 weights that the model does not use: visitor.weight" in caplog.text


def test_loading_prints_nothing_of_transformers(qwen2_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(settings_for(qwen2_folder), trains=True)

    assert capfd.readouterr() == ("", "")


def test_code_from_the_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    edit_config(folder, model_type="homegrown", auto_map={"AutoConfig": "configuration_homegrown.HomegrownConfig"})
    (folder / "configuration_homegrown.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(ModelError, match="needs the Python code in its folder"):
        load_model(settings_for(folder), trains=True)
    assert not (tmp_path / "ran").exists()


def test_a_type_that_transformers_does_not_know(folder: Path) -> None:
    edit_config(folder, model_type="from_the_future")

    with pytest.raises(ModelError, match=r"'from_the_future', which transformers [\d.]+ does not know"):
        load_model(settings_for(folder), trains=True)


def test_a_type_that_is_no_language_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "detr"}')

    with pytest.raises(ModelError, match="neither a causal language model nor one that reads images or sound"):
        load_model(settings_for(folder), trains=True)


def test_no_model_named() -> None:
    with pytest.raises(UsageError, match="model_name_or_path is not set"):
        load_model(settings_for("none"), trains=True)


@pytest.mark.parametrize(
    ("flash_attn", "implementation"), [("auto", "sdpa"), ("sdpa", "sdpa"), ("eager", "eager"), ("disabled", "eager")]
)
def test_attention(qwen2_folder: Path, flash_attn: str, implementation: str) -> None:
    model = load_model(settings_for(qwen2_folder, flash_attn=flash_attn), trains=True)

    assert model.config._attn_implementation == implementation


@pytest.mark.skipif(extras.is_installed("flash_attn"), reason="flash-attn is installed")
def test_flash_attention_that_is_absent_gives_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match="pip install flash-attn"):
        attention_implementation(settings_for("any", flash_attn="fa2").model)


def test_from_scratch_is_random_and_the_same_for_a_seed(qwen2_folder: Path) -> None:
    def weight(seed: int) -> torch.Tensor:
        settings = settings_for(qwen2_folder, train_from_scratch=True, training={"seed": seed})
        return load_model(settings, trains=True).state_dict()["model.layers.0.mlp.up_proj.weight"]

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
    assert not torch.equal(
        weight(1), load_file(qwen2_folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    )


def test_added_tokens_grow_the_embedding_only_where_allowed(qwen2_folder: Path) -> None:
    many = [f"<extra_{number}>" for number in range(40)]

    model = load_model(settings_for(qwen2_folder, add_tokens=many, resize_vocab=True), trains=True)

    embedding = model.get_input_embeddings().weight
    assert embedding.shape == (576, 32)
    assert model.get_output_embeddings().weight is embedding
    assert model.config.vocab_size == 576
    old = load_file(qwen2_folder / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(embedding[:544], old)
    assert torch.allclose(embedding[544:], old.mean(dim=0).expand(32, -1))
