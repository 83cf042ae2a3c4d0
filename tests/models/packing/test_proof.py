"""Which architectures keep packed samples apart is found by trying, and what does not is refused with its reason."""

from __future__ import annotations

import pytest
import torch

from tests.models.packed_models import text_tree_trial, text_trial, tiny_text_model
from tunesmith.models.packing.proof import Packing, PackingUnproven, prove_packing, prove_sharing
from tunesmith.models.packing.split_attention import split_attention


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gpt_oss", "opt", "deepseek_v3", "cohere2", "starcoder2"])
def test_attention_of_every_sort_is_split(kind):
    changes = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {
        "n_routed_experts": 8,
        "moe_intermediate_size": 16,
        "n_group": 2,
        "topk_group": 1,
        "num_key_value_heads": 4,
    }
    model = tiny_text_model(kind, **({**changes, **experts} if kind == "deepseek_v3" else {}))
    assert prove_packing(model, text_trial()) == Packing(splits=True, axes=None)


@pytest.mark.parametrize("kind", ["gpt_oss", "opt"])
def test_where_transformers_itself_mixes_packed_samples_it_is_seen(kind):
    found = prove_packing(tiny_text_model(kind), text_trial(), may_split=False)
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("packed, a sample's hidden states change by ")


def test_models_whose_attention_cannot_be_replaced_pack_by_their_positions():
    model = tiny_text_model("gptj")
    assert prove_packing(model, text_trial()) == Packing(splits=False, axes=None)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", ["mamba", "lfm2", "qwen3_5_text", "falcon_h1", "bloom"])
def test_states_convolutions_and_positions_of_the_whole_sequence_are_refused(kind):
    model = tiny_text_model(kind)
    before = model.config._attn_implementation
    found = prove_packing(model, text_trial())
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("packed, a sample's hidden states change by ")
    assert model.config._attn_implementation == before


def test_chunked_attention_is_refused_though_short_samples_would_not_show_it():
    found = prove_packing(tiny_text_model("llama4_text"), text_trial())
    assert found == PackingUnproven("its attention counts chunks from the beginning of the sequence")


def test_nothing_is_taken_for_proven_where_samples_could_not_be_seen_to_mix():
    model = tiny_text_model("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    found = prove_packing(model, text_trial())
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("it could not be shown")


@pytest.mark.parametrize("kind", ["llama", "mixtral", "gemma2"])
@pytest.mark.parametrize("autocast", [True, False])
def test_low_precision_is_proven_within_its_rounding(kind, autocast):
    model = tiny_text_model(kind, **({"num_local_experts": 4} if kind == "mixtral" else {}))
    model = model if autocast else model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert prove_packing(model, text_trial()) == Packing(splits=True, axes=None)


@pytest.mark.parametrize("kind", ["lfm2", "falcon_h1"])
def test_low_precision_hides_no_mixing(kind):
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(prove_packing(tiny_text_model(kind), text_trial()), PackingUnproven)


def test_a_forward_that_fails_is_a_reason_not_a_crash():
    trial = text_trial()
    broken = {**trial.packed, "pixel_values": torch.zeros(1), "labels": torch.zeros(3)}
    found = prove_packing(tiny_text_model("llama"), type(trial)(trial.lengths, broken, trial.padded, trial.alone))
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("it fails on a packed sequence: ")


def test_what_a_model_is_given_follows_from_how_it_packs():
    inputs = text_trial().packed
    assert Packing(splits=False, axes=None)(inputs, (21, 33)) == inputs
    split = Packing(splits=True, axes=None)(inputs, (21, 33))
    assert torch.equal(split["attention_mask"], torch.ones(1, 54, dtype=torch.int64))
    assert split["position_ids"] is inputs["position_ids"]


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gpt_oss", "mixtral"])
@pytest.mark.parametrize("autocast", [True, False])
def test_two_answers_behind_one_beginning_are_proven_apart(kind, autocast):
    model = tiny_text_model(kind, **({"num_local_experts": 4} if kind == "mixtral" else {}))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        packing = prove_packing(model, text_trial())
        assert isinstance(packing, Packing) and not packing.shares
        assert prove_sharing(model, packing, text_tree_trial()) == Packing(splits=True, axes=None, shares=True)


def test_answers_are_not_shared_where_attention_runs_over_the_whole_sequence():
    model = tiny_text_model("gptj")
    found = prove_sharing(model, Packing(splits=False, axes=None), text_tree_trial())
    assert found == PackingUnproven("its attention, eager, runs over the whole sequence at once")


def test_a_model_that_lets_answers_see_each_other_is_refused():
    model = tiny_text_model("lfm2")  # its convolution runs over the sequence as it lies
    assert split_attention(model)
    found = prove_sharing(model, Packing(splits=True, axes=None), text_tree_trial())
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("packed, a sample's hidden states change by ")


def test_answers_that_could_not_be_seen_to_mix_prove_nothing():
    model = tiny_text_model("llama")
    assert split_attention(model)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    found = prove_sharing(model, Packing(splits=True, axes=None), text_tree_trial())
    assert isinstance(found, PackingUnproven)
    assert found.reason.startswith("it could not be shown")
