from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.config.generation import GenerationSettings
from tunesmith.infer.live import answering
from tunesmith.infer.open import build_encoder, open_preprocessor
from tunesmith.infer.source import find_source
from tunesmith.infer.transformers_engine import TransformersEngine
from tunesmith.models.load import load_model

QUESTION = Conversation((Message("user", (Text("你是谁?"),)),))
SAMPLED = GenerationSettings(max_new_tokens=6)


@pytest.fixture
def training(qwen2_folder: Path) -> tuple[PeftModel, TransformersEngine]:
    """A model as it is in the middle of a training: an adapter with dropout, checkpointing on, its cache off."""
    source = find_source(qwen2_folder)
    model = load_model(source.settings, trains=True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.config.use_cache = False
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], lora_dropout=0.5))
    adapted.train()
    adapted.get_input_embeddings().eval()
    preprocessor = open_preprocessor(source)
    return adapted, TransformersEngine(adapted, preprocessor, build_encoder(source.settings, preprocessor))


def one_loss(model: PeftModel) -> torch.Tensor:
    ids = torch.arange(20)[None]
    return model(input_ids=ids, labels=ids).loss


def test_the_training_goes_on_as_if_nothing_was_asked(training: tuple[PeftModel, TransformersEngine]) -> None:
    model, engine = training
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    undisturbed = one_loss(model)
    torch.manual_seed(3)
    with answering(model):
        assert not model.training
        engine.answer(QUESTION, SAMPLED)
    assert torch.equal(one_loss(model), undisturbed)  # dropout drew the same numbers
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert model.get_base_model().is_gradient_checkpointing


def test_everything_is_restored_after_a_failure(training: tuple[PeftModel, TransformersEngine]) -> None:
    model, _ = training
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="in between"), answering(model):
        torch.rand(3)
        raise ValueError("in between")
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_flow_after_an_answer(training: tuple[PeftModel, TransformersEngine]) -> None:
    model, engine = training
    with answering(model):
        "".join(engine.stream(QUESTION, SAMPLED))
    one_loss(model).backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
