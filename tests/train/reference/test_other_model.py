"""`ref_model`: loaded as the model that trains is, refused where the two cannot be given the same batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tests.train.reference.prepared import with_same_tokenizer
from tunesmith.config.settings import Settings
from tunesmith.errors import ModelError
from tunesmith.models.load import load_model
from tunesmith.models.quantization import is_quantized
from tunesmith.models.saving import save_trained
from tunesmith.models.tuning.apply import apply_tuning
from tunesmith.train.reference.other_model import load_reference_model


def given(folder: Path, *, training: dict[str, Any] | None = None, **preference: Any) -> Settings:
    made = settings_for(folder, training={"stage": "dpo", **(training or {})})
    changed = {name: str(value) if isinstance(value, Path) else value for name, value in preference.items()}
    return made.model_copy(update={"preference": made.preference.model_copy(update=changed)})


def load(settings: Settings) -> torch.nn.Module:
    return load_reference_model(load_model(settings, trains=True), settings)


@pytest.fixture
def llama(qwen2_folder: Path, tmp_path: Path) -> Path:
    """Another architecture with the same tokenizer."""
    own = json.loads((qwen2_folder / "config.json").read_text())
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return with_same_tokenizer(qwen2_folder, tmp_path / "llama", LlamaConfig(**sizes, vocab_size=own["vocab_size"]))


def test_it_is_read_in_the_format_of_weights_that_do_not_train(qwen2_folder):
    for training, dtype in (({}, torch.float32), ({"bf16": True}, torch.bfloat16)):
        model = load(given(qwen2_folder, ref_model=qwen2_folder, training=training))
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not model.training


def test_its_adapters_are_on_it(qwen2_folder, tmp_path):
    settings, batch = settings_for(qwen2_folder), batch_for(qwen2_folder)
    trained = apply_tuning(load_model(settings, trains=True), settings)
    train_a_step(trained.train(), batch, learning_rate=1.0)
    train_a_step(trained.train(), batch, learning_rate=1.0)
    save_trained(trained, tmp_path)

    model = load(given(qwen2_folder, ref_model=qwen2_folder, ref_model_adapters=(str(tmp_path),)))

    assert torch.equal(logits_of(model, batch), logits_of(trained, batch))


def test_it_may_be_of_another_architecture(qwen2_folder, llama):
    model = load(given(qwen2_folder, ref_model=llama))
    assert model.config.model_type == "llama"


def test_it_may_be_quantised(qwen2_folder):
    pytest.importorskip("bitsandbytes")
    assert is_quantized(load(given(qwen2_folder, ref_model=qwen2_folder, ref_model_quantization_bit=4)))


def test_other_tokens_are_refused_with_examples(qwen2_folder, llama):
    file = llama / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    one, other = list(vocabulary)[5:7]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    file.write_text(json.dumps(content))
    with pytest.raises(
        ModelError, match=r"ref_model: .* has other tokens than .*: 2 differ, such as .*leave ref_model out"
    ):
        load(given(qwen2_folder, ref_model=llama))


def test_a_model_that_is_given_media_in_another_form_is_refused(qwen2_folder, qwen2_5_vl_folder):
    with pytest.raises(ModelError, match=r"another form than .*\(text alone, Qwen2_5_VLProcessor\)"):
        load(given(qwen2_5_vl_folder, ref_model=qwen2_folder))


def test_an_embedding_with_too_few_rows_is_refused(qwen2_folder, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = with_same_tokenizer(qwen2_folder, tmp_path / "small", LlamaConfig(**sizes, vocab_size=32))
    with pytest.raises(ModelError, match="has 32 tokens in its embedding"):
        load(given(qwen2_folder, ref_model=small))


def test_a_reward_model_is_no_reference(qwen2_folder, tmp_path):
    settings = settings_for(qwen2_folder, training={"stage": "rm"})
    save_trained(reward_model_of(settings), tmp_path / "reward")
    with pytest.raises(ModelError, match="is a reward model, which gives scores and has no probabilities of answers"):
        load(given(qwen2_folder, ref_model=qwen2_folder, ref_model_adapters=(str(tmp_path / "reward"),)))


def reward_model_of(settings: Settings) -> Any:
    """The model of stage rm as its training begins."""
    return apply_tuning(load_model(settings, trains=True), settings)
