"""A score head is written where transformers, PEFT and TRL read it, and reads back as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification

from tests.models.given import batch_for, batch_for_kind, settings_for
from tests.tiny import KINDS, tiny_folder
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.folder import load_folder
from tunesmith.models.load import load_config, load_model, model_class_of
from tunesmith.models.parts import Part, core_model, find_parts
from tunesmith.models.saving import save_trained
from tunesmith.models.score_head import attach_score_head, score_head, scores_at
from tunesmith.models.tuning.apply import apply_tuning

FolderOf = Callable[[str], Path]
WITH_CLASS = ["qwen2", "qwen3", "qwen3_moe", "llama", "gemma3_text", "mistral", "phi", "phi3", "glm4", "gpt2", "gemma3"]
"""Kinds that transformers has a classification class for."""


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    return cache(lambda kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)))


def tuned(folder: Path, **tuning: Any) -> Any:
    settings = settings_for(folder, tuning=tuning, training={"stage": "rm"})
    torch.manual_seed(0)
    return apply_tuning(load_model(settings, trains=True), settings)


def score(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(T,) at every token, in evaluation mode."""
    with torch.no_grad():
        return scores_at(model.eval(), batch, torch.arange(batch["input_ids"].numel()))


def train_a_step(model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Towards a higher score at the end of the text, in steps large enough to see."""
    scores_at(model.train(), batch, torch.tensor([batch["input_ids"].numel() - 1])).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter += 0.05 * parameter.grad.sign()
                parameter.grad = None


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_learns_saves_and_loads(
    kind: str, finetuning_type: str, folder_of: FolderOf, tmp_path: Path
) -> None:
    model, batch = tuned(folder_of(kind), finetuning_type=finetuning_type), batch_for_kind(kind, folder_of(kind))
    before = score(model, batch)
    train_a_step(model, batch)
    after = score(model, batch)
    assert after[-1] > before[-1]

    save_trained(model, tmp_path)
    loaded, _ = load_folder(tmp_path if finetuning_type == "lora" else with_tokenizer(tmp_path, folder_of(kind)))

    assert torch.equal(score(loaded, batch), after)


def with_tokenizer(folder: Path, source: Path) -> Path:
    """Everything of `source` that `folder` lacks, but weights."""
    for file in source.iterdir():
        if file.is_file() and not (folder / file.name).exists() and file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("kind", WITH_CLASS)
def test_transformers_reads_a_model_trained_in_full(kind: str, folder_of: FolderOf, tmp_path: Path) -> None:
    model = tuned(folder_of(kind), finetuning_type="full")
    train_a_step(model, batch_for(folder_of(kind)))
    save_trained(model, tmp_path)

    theirs, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert theirs.config.architectures == [type(theirs).__name__]
    assert theirs.config.num_labels == 1
    tokenizer = AutoTokenizer.from_pretrained(folder_of(kind))
    assert theirs.config.get_text_config().pad_token_id == tokenizer.pad_token_id
    assert (report["missing_keys"], report["unexpected_keys"]) == (set(), set())
    batch = batch_for(folder_of(kind))
    with torch.no_grad():
        assert theirs.eval()(**batch).logits[0, 0] == score(model, batch)[-1]


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gemma3_text", "gpt2"])
def test_peft_reads_an_adapter_with_its_head(kind: str, folder_of: FolderOf, tmp_path: Path) -> None:
    model, batch = tuned(folder_of(kind)), batch_for(folder_of(kind))
    train_a_step(model, batch)
    save_trained(model, tmp_path)

    base = AutoModelForSequenceClassification.from_pretrained(folder_of(kind), num_labels=1)
    for theirs in (
        PeftModel.from_pretrained(base, str(tmp_path)),
        AutoPeftModelForSequenceClassification.from_pretrained(str(tmp_path), num_labels=1),
    ):
        with torch.no_grad():
            assert theirs.eval()(**batch).logits[0, 0] == score(model, batch)[-1]
    assert model.peft_config["default"].modules_to_save == ["score"]


def test_a_model_that_trl_or_transformers_trained_loads(folder_of: FolderOf, tmp_path: Path) -> None:
    batch = batch_for(folder_of("llama"))
    theirs = LlamaForSequenceClassification.from_pretrained(folder_of("llama"), num_labels=1)
    theirs.save_pretrained(tmp_path)
    assert not any(name.startswith("lm_head") for name in load_file(tmp_path / "model.safetensors"))

    ours, _ = load_folder(with_tokenizer(tmp_path, folder_of("llama")))

    with torch.no_grad():
        assert theirs.eval()(**batch).logits[0, 0] == score(ours, batch)[-1]
    again = tuned(tmp_path)  # and trains on
    assert torch.equal(score(again, batch), score(ours, batch))


def test_a_value_head_of_llama_factory_loads(folder_of: FolderOf, tmp_path: Path) -> None:
    model, batch = tuned(folder_of("qwen2")), batch_for(folder_of("qwen2"))
    train_a_step(model, batch)
    save_trained(model, tmp_path)
    expected = score(model, batch)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    head = weights.pop("base_model.model.score.weight")
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    config = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(config.replace('"SEQ_CLS"', '"CAUSAL_LM"').replace('"score"', ""))
    save_file(
        {"v_head.summary.weight": head, "v_head.summary.bias": torch.tensor([0.5])},
        tmp_path / "value_head.safetensors",
    )

    loaded, _ = load_folder(tmp_path)
    assert torch.equal(score(loaded, batch), expected)
    settings = settings_for(folder_of("qwen2"), training={"stage": "rm"}, adapter_name_or_path=(str(tmp_path),))
    again = apply_tuning(load_model(settings, trains=True), settings)
    assert torch.equal(score(again, batch), expected)
    save_trained(again, tmp_path / "again")
    assert torch.equal(
        load_file(tmp_path / "again" / "adapter_model.safetensors")["base_model.model.score.weight"], head
    )


def test_a_new_head_is_drawn_as_transformers_draws_it(folder_of: FolderOf) -> None:
    wide, same, other = (load_model(settings_for(folder_of("qwen2")), trains=False) for _ in range(3))
    wide.config.initializer_range = 0.5
    for model, seed in ((wide, 1), (same, 1), (other, 2)):
        attach_score_head(model, seed=seed)

    assert tuple(wide.score.weight.shape) == (1, 32)
    torch.testing.assert_close(wide.score.weight, same.score.weight * 25)
    assert same.score.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not torch.equal(same.score.weight, other.score.weight)


def test_what_trains_beside_the_head(folder_of: FolderOf) -> None:
    lora = tuned(folder_of("llava"), lora_target="all")
    trained = {name for name, parameter in lora.named_parameters() if parameter.requires_grad}
    assert "base_model.model.score.modules_to_save.default.weight" in trained
    assert not any("lora_" in name and ".score" in name for name in trained)
    assert find_parts(lora).part_of("base_model.model.score.modules_to_save.default.weight") == Part.HEAD
    assert "score" not in find_parts(lora).projector

    freeze = tuned(folder_of("llama"), finetuning_type="freeze", freeze_trainable_layers=1)
    assert {name.split(".")[0] for name, weight in freeze.named_parameters() if weight.requires_grad} == {
        "model",
        "score",
    }
    full = tuned(folder_of("llama"), finetuning_type="full", freeze_language_model=True)
    assert [name for name, weight in full.named_parameters() if weight.requires_grad] == ["score.weight"]
    untied, tied = tuned(folder_of("llama"), finetuning_type="full"), tuned(folder_of("qwen2"), finetuning_type="full")
    assert not untied.lm_head.weight.requires_grad
    assert tied.model.embed_tokens.weight.requires_grad


def test_the_head_stays_fine_where_the_model_is_rounded(folder_of: FolderOf, tmp_path: Path) -> None:
    model = tuned(folder_of("qwen2"), finetuning_type="full")
    save_trained(model, tmp_path)
    weight = model.score.weight.clone()

    half, _ = load_folder(with_tokenizer(tmp_path, folder_of("qwen2")), dtype="bfloat16")

    assert half.model.norm.weight.dtype == torch.bfloat16
    assert torch.equal(half.score.weight, weight)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base(bits: int, folder_of: FolderOf, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder, batch = folder_of("qwen2"), batch_for(folder_of("qwen2"))
    settings = settings_for(folder, training={"stage": "rm"}, quantization_bit=bits)
    model = apply_tuning(load_model(settings, trains=True), settings)
    before = score(model, batch)
    train_a_step(model, batch)
    after = score(model, batch)

    assert after[-1] > before[-1]
    head = score_head(model)
    assert head is not None
    assert head.weight.dtype == torch.float32


def test_reward_models_and_language_models_are_not_mixed_up(folder_of: FolderOf, tmp_path: Path) -> None:
    reward = with_tokenizer(tmp_path, folder_of("qwen2"))
    save_trained(tuned(folder_of("qwen2"), finetuning_type="full"), reward)
    settings = settings_for(reward)

    with pytest.raises(UsageError, match="is a reward model, which gives scores"):
        apply_tuning(load_model(settings, trains=True), settings)
    plain = load_model(settings_for(folder_of("qwen2")), trains=False)
    with pytest.raises(ModelError, match="Qwen2ForCausalLM has no score head, which stage: rm gives"):
        scores_at(plain, batch_for(folder_of("qwen2")), torch.tensor([0]))


def test_a_classifier_is_no_reward_model(folder_of: FolderOf, tmp_path: Path) -> None:
    LlamaForSequenceClassification.from_pretrained(folder_of("llama"), num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="gives 3 scores for a text, as classifiers do"):
        load_folder(with_tokenizer(tmp_path, folder_of("llama")))


def test_the_class_is_that_of_the_language_model(folder_of: FolderOf, tmp_path: Path) -> None:
    reward = with_tokenizer(tmp_path, folder_of("llama"))
    save_trained(tuned(folder_of("llama"), finetuning_type="full"), reward)
    assert model_class_of(load_config(reward), reward).__name__ == "LlamaForCausalLM"
    model, _ = load_folder(reward)
    assert core_model(model).generation_config is not None


@pytest.mark.parametrize("create_new_adapter", [False, True])
def test_an_adapter_that_answered_goes_on_to_score(
    qwen2_folder: Path, tmp_path: Path, create_new_adapter: bool
) -> None:
    save_trained(answering_adapter(qwen2_folder), tmp_path)
    settings = settings_for(
        qwen2_folder,
        tuning={"create_new_adapter": create_new_adapter},
        training={"stage": "rm"},
        adapter_name_or_path=[str(tmp_path)],
    )
    model, anew = apply_tuning(load_model(settings, trains=True), settings), tuned(qwen2_folder)
    batch = batch_for(qwen2_folder)
    before = score(model, batch)
    assert not torch.allclose(before, score(anew, batch)), "the adapter that answered is not at work"
    save_trained(model, tmp_path / "scores")
    save_trained(anew, tmp_path / "anew")
    assert torch.equal(saved_head(tmp_path / "scores"), saved_head(tmp_path / "anew"))
    train_a_step(model, batch)
    assert not torch.allclose(before, score(model, batch))


def answering_adapter(folder: Path) -> Any:
    """A language model with an adapter that does something."""
    settings = settings_for(folder)
    model = apply_tuning(load_model(settings, trains=True), settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    return model


def saved_head(folder: Path) -> Tensor:
    """(1, H) as an adapter's file has it."""
    return load_file(folder / "adapter_model.safetensors")["base_model.model.score.weight"]
