from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tunesmith.errors import ModelError
from tunesmith.models.load import load_model
from tunesmith.models.saving import save_adapter, save_model, save_trained
from tunesmith.models.tuning.apply import apply_tuning


def trained(folder: Path, *, training: dict[str, bool] | None = None, **tuning: object) -> torch.nn.Module:
    settings = settings_for(folder, tuning=tuning, training=training)
    model = apply_tuning(load_model(settings, trains=True), settings)
    if not training:
        train_a_step(model, batch_for(folder))
    return model


def test_transformers_reads_the_same_model_back(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(qwen2_5_vl_folder, with_image=True)
    model = trained(qwen2_5_vl_folder, finetuning_type="full", freeze_vision_tower=False)

    save_model(model, tmp_path)

    assert torch.equal(logits_of(AutoModelForImageTextToText.from_pretrained(tmp_path), batch), logits_of(model, batch))


def test_the_keys_are_those_of_the_model_it_came_from(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    save_model(trained(qwen2_5_vl_folder, finetuning_type="full"), tmp_path)

    assert load_file(tmp_path / "model.safetensors").keys() == load_file(qwen2_5_vl_folder / "model.safetensors").keys()


def test_a_mixture_of_formats_is_written_in_the_widest(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    model = trained(qwen2_5_vl_folder, training={"bf16": True}, finetuning_type="full")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32, torch.bfloat16}

    save_model(model, tmp_path)

    stored = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float32}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    for name, parameter in model.state_dict().items():
        assert name not in stored or torch.equal(stored[name], parameter.float()), name


def test_a_format_asked_for_is_used_and_recorded(qwen2_folder: Path, tmp_path: Path) -> None:
    model = trained(qwen2_folder, finetuning_type="full")

    save_model(model, tmp_path, dtype=torch.bfloat16)

    stored = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in stored
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert model.dtype == torch.float32


def test_large_models_are_cut_into_shards(qwen2_folder: Path, tmp_path: Path) -> None:
    save_model(trained(qwen2_folder, finetuning_type="full"), tmp_path, max_shard_bytes=60_000)

    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert (tmp_path / "model.safetensors.index.json").is_file()
    load_model(settings_for(tmp_path), trains=True)


def test_what_was_trained_decides_what_is_written(qwen2_folder: Path, tmp_path: Path) -> None:
    save_trained(trained(qwen2_folder), tmp_path / "lora")
    save_trained(trained(qwen2_folder, finetuning_type="full"), tmp_path / "full")

    assert (tmp_path / "lora" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "lora" / "model.safetensors").exists()
    assert (tmp_path / "full" / "model.safetensors").is_file()


def test_sampling_values_without_sampling_do_not_stop_a_save(qwen2_folder: Path, tmp_path: Path) -> None:
    model = trained(qwen2_folder, finetuning_type="full")
    model.generation_config.temperature = 0.6

    save_model(model, tmp_path)

    assert json.loads((tmp_path / "generation_config.json").read_text())["temperature"] == 0.6


def test_saving_prints_nothing(qwen2_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(trained(qwen2_folder, finetuning_type="full"), tmp_path / "full")
    save_adapter(trained(qwen2_folder), tmp_path / "lora")

    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written(qwen2_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ModelError, match="cannot be written to"):
        save_model(trained(qwen2_folder, finetuning_type="full"), tmp_path / "file" / "model")
    with pytest.raises(ModelError, match="cannot be written to"):
        save_adapter(trained(qwen2_folder), tmp_path / "file" / "adapter")
