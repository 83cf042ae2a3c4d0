from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, Qwen2_5_VLProcessor

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.folder import load_folder
from tunesmith.models.load import load_model
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.models.saving import save_trained
from tunesmith.models.tuning.apply import apply_tuning


def train_into(run: Path, base: Path, *places: str, seed: int = 0, **keys: Any) -> torch.nn.Module:
    """A trained model, saved at `places` of a run folder with the run's settings and tokenizer at its root."""
    torch.manual_seed(seed)
    tuning = {key: keys.pop(key) for key in ("finetuning_type", "create_new_adapter") if key in keys}
    settings = settings_for(base, tuning=tuning, **keys)
    model = apply_tuning(load_model(settings, trains=True), settings)
    for _ in range(2):
        train_a_step(model, batch_for(base), learning_rate=0.5)
    for place in places:
        save_trained(model, run / place)
    load_preprocessor(settings.model, settings.media).save(run)
    (run / "run.yaml").write_text(yaml.safe_dump({"model_name_or_path": str(base), **tuning, **keys}))
    return model


def test_a_model_folder(qwen2_5_vl_folder: Path) -> None:
    model, processor = load_folder(qwen2_5_vl_folder, device="cpu")

    assert isinstance(processor, Qwen2_5_VLProcessor)
    assert not model.training and model.dtype == torch.float32
    batch = batch_for(qwen2_5_vl_folder, with_image=True)
    assert model.generate(**batch, max_new_tokens=3, do_sample=False).shape == (1, batch["input_ids"].shape[1] + 3)


def test_a_text_model_comes_with_its_tokenizer(qwen2_folder: Path) -> None:
    _, tokenizer = load_folder(str(qwen2_folder), device="cpu")

    assert isinstance(tokenizer, PreTrainedTokenizerBase)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_in_a_format_asked_for(qwen2_folder: Path, dtype: str | torch.dtype) -> None:
    assert load_folder(qwen2_folder, dtype=dtype, device="cpu")[0].dtype == torch.bfloat16


def test_a_format_that_is_none(qwen2_folder: Path) -> None:
    with pytest.raises(UsageError, match="dtype 'int7' is not one of bfloat16"):
        load_folder(qwen2_folder, dtype="int7")


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_a_run_answers_as_when_it_was_trained(qwen2_5_vl_folder: Path, tmp_path: Path, finetuning_type: str) -> None:
    batch = batch_for(qwen2_5_vl_folder, with_image=True)
    trained = train_into(tmp_path, qwen2_5_vl_folder, ".", finetuning_type=finetuning_type)

    model, processor = load_folder(tmp_path, device="cpu")

    assert isinstance(model, PeftModel) == (finetuning_type == "lora")
    assert isinstance(processor, Qwen2_5_VLProcessor)
    assert torch.equal(logits_of(model, batch), logits_of(trained, batch))
    assert not any(parameter.requires_grad for parameter in model.parameters()) or finetuning_type == "full"


def test_a_checkpoint_of_a_run_and_a_run_that_has_only_checkpoints(qwen2_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(qwen2_folder)
    train_into(tmp_path, qwen2_folder, "checkpoints/step-9", seed=1)
    latest = train_into(tmp_path, qwen2_folder, "checkpoints/step-10", seed=2)

    model, tokenizer = load_folder(tmp_path, device="cpu")
    earlier, _ = load_folder(tmp_path / "checkpoints" / "step-9", device="cpu")

    assert torch.equal(logits_of(model, batch), logits_of(latest, batch))
    assert not torch.equal(logits_of(earlier, batch), logits_of(latest, batch))
    assert isinstance(tokenizer, PreTrainedTokenizerBase)


def test_an_adapter_alone_takes_the_tokenizer_of_its_base(qwen2_folder: Path, tmp_path: Path) -> None:
    trained = train_into(tmp_path / "run", qwen2_folder, ".")
    lone = tmp_path / "elsewhere" / "checkpoint-20"
    lone.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tmp_path / "run" / name, lone)

    model, tokenizer = load_folder(lone, device="cpu")

    assert torch.equal(logits_of(model, batch_for(qwen2_folder)), logits_of(trained, batch_for(qwen2_folder)))
    assert isinstance(tokenizer, PreTrainedTokenizerBase)


def test_a_run_on_top_of_merged_adapters_merges_them_again(qwen2_folder: Path, tmp_path: Path) -> None:
    train_into(tmp_path / "first", qwen2_folder, ".", seed=1)
    second = train_into(
        tmp_path / "second",
        qwen2_folder,
        ".",
        seed=2,
        adapter_name_or_path=[str(tmp_path / "first")],
        create_new_adapter=True,
    )

    model, _ = load_folder(tmp_path / "second", device="cpu")

    assert torch.equal(logits_of(model, batch_for(qwen2_folder)), logits_of(second, batch_for(qwen2_folder)))


def test_a_run_with_new_tokens_grows_the_base_again(qwen2_folder: Path, tmp_path: Path) -> None:
    many = [f"<extra_{number}>" for number in range(40)]
    trained = train_into(tmp_path, qwen2_folder, ".", add_tokens=many, resize_vocab=True)

    model, tokenizer = load_folder(tmp_path, device="cpu")

    batch = dict(tokenizer(["<extra_39> red"], return_tensors="pt"))
    assert batch["input_ids"][0, 0] == tokenizer.convert_tokens_to_ids("<extra_39>")
    assert torch.equal(logits_of(model, batch), logits_of(trained, batch))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds neither a model \(config\.json\) nor an adapter"):
        load_folder(tmp_path)


def test_an_adapter_that_names_no_base(qwen2_folder: Path, tmp_path: Path) -> None:
    train_into(tmp_path, qwen2_folder, ".")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))

    with pytest.raises(ModelError, match="names no base model: set base_model_name_or_path"):
        load_folder(tmp_path)


def test_an_adapter_whose_base_was_moved_says_where_to_write_its_new_place(qwen2_folder: Path, tmp_path: Path) -> None:
    base = shutil.copytree(qwen2_folder, tmp_path / "base")
    train_into(tmp_path / "run", base, ".")
    shutil.move(base, tmp_path / "elsewhere")

    with pytest.raises(ModelError, match=r"base model of the adapter in .*run.* base_model_name_or_path into .*run"):
        load_folder(tmp_path / "run", device="cpu")
