"""The head is found, proven, or refused with a reason; hidden states are what the head itself receives."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.train.tiny_models import batch_of, text_batch, tiny_model
from tunesmith.models.head import HeadUnproven, LanguageHead, LogitTransform, find_head


@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        ("qwen2", LogitTransform()),
        ("qwen2_5_vl", LogitTransform()),
        ("gemma2", LogitTransform(softcap=2.0)),
        ("cohere2", LogitTransform(scale=0.25)),
        ("granite", LogitTransform(scale=0.25)),  # logits_scaling: 4 divides
    ],
)
def test_what_the_config_declares_is_found(kind, transform):
    head = find_head(tiny_model(kind), batch_of(kind)[0])
    assert isinstance(head, LanguageHead)
    assert head.transform == transform


@pytest.mark.parametrize("kind", ["qwen2", "gemma2", "qwen2_5_vl"])
def test_logits_of_the_hidden_states_are_the_models(kind):
    model, (inputs, _) = tiny_model(kind).eval(), batch_of(kind)
    head = find_head(model, inputs)
    torch.testing.assert_close(
        head.logits(head.hidden_states(model, inputs)), model(**inputs).logits, rtol=1e-10, atol=1e-12
    )


def test_a_head_that_does_more_than_its_config_says_is_refused():
    model, (inputs, _) = tiny_model("gemma2"), text_batch()
    model.config.final_logit_softcapping = None
    real_forward = model.forward

    def forward(**kwargs):
        output = real_forward(**kwargs)
        output.logits = output.logits.clamp(max=1.0)
        return output

    model.forward = forward
    found = find_head(model, inputs)
    assert isinstance(found, HeadUnproven)
    assert "scaling" in found.reason


def test_a_forward_that_fails_is_a_reason_not_a_crash():
    both = {"input_ids": torch.tensor([[1, 2]]), "inputs_embeds": torch.zeros(1, 2, 16, dtype=torch.float64)}
    found = find_head(tiny_model("qwen2"), both)
    assert isinstance(found, HeadUnproven)
    assert "could not be observed" in found.reason
    found = find_head(torch.nn.Linear(2, 2), {"input_ids": torch.tensor([[1, 2]])})
    assert found == HeadUnproven("it names no output embedding")


def test_the_probe_leaves_modes_and_randomness_alone():
    model, (inputs, _) = tiny_model("qwen2"), text_batch()
    model.lm_head.eval()
    state = torch.get_rng_state()
    find_head(model, inputs)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.model.layers[0].training
    assert not model.lm_head.training
    assert not model.lm_head._forward_pre_hooks


@pytest.mark.parametrize(("modules_to_save", "bare"), [(None, True), (["lm_head"], False)])
def test_adapters_keep_the_head_bare_unless_they_sit_on_it(modules_to_save, bare):
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=modules_to_save)
    model, (inputs, _) = get_peft_model(tiny_model("qwen2"), config), text_batch()
    head = find_head(model, inputs)
    assert isinstance(head, LanguageHead)
    assert (head.plain is not None) == bare


def test_lora_on_the_head_goes_through_the_module():
    model = get_peft_model(tiny_model("qwen2"), LoraConfig(target_modules=["lm_head"], init_lora_weights=False))
    head = find_head(model, text_batch()[0])
    assert isinstance(head, LanguageHead)
    assert head.plain is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_proven_within_its_rounding(dtype):
    for kind in ("qwen2", "gemma2", "granite"):
        model = tiny_model(kind).to(dtype)
        assert isinstance(find_head(model, text_batch()[0]), LanguageHead)
        if kind == "gemma2":
            model.config.final_logit_softcapping = 3.0  # the model reads it on every call: still equal
            assert find_head(model, text_batch()[0]).transform.softcap == 3.0
