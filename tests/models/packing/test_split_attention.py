"""Split attention: each sample by itself where samples are packed, and elsewhere what the model did before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.models.packed_models import text_trial, tiny_text_model
from tunesmith.models.packing.split_attention import SampleMasks, restore_attention, samples_apart, split_attention

LENGTHS = (21, 1, 2, 33)


def sequence(lengths=LENGTHS):
    ids = torch.randint(2, 96, (1, sum(lengths)), generator=torch.Generator().manual_seed(3))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return {"input_ids": ids, "position_ids": positions, "attention_mask": torch.ones_like(ids), "use_cache": False}


def seen_masks(model, inputs, monkeypatch):
    """The masks that the layers are given, one a layer."""
    found = []
    for layer in model.model.layers:
        forward = layer.self_attn.forward

        def watching(*args, forward=forward, **options):
            found.append(options["attention_mask"])
            return forward(*args, **options)

        monkeypatch.setattr(layer.self_attn, "forward", watching)
    with torch.no_grad(), samples_apart(LENGTHS):
        model(**inputs)
    return found


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gpt_oss"])
def test_every_sample_is_computed_as_if_it_were_alone(kind):
    model = tiny_text_model(kind).double().eval()
    if kind == "gpt_oss":
        model.set_experts_implementation("eager")
    inputs = sequence()
    expected = [model(input_ids=ids).logits for ids in inputs["input_ids"].split(LENGTHS, dim=1)]
    assert split_attention(model)
    with samples_apart(LENGTHS):
        found = model(**inputs).logits
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)


def test_plain_causal_samples_take_no_mask_and_windows_only_where_they_are_shorter(monkeypatch):
    for kind, expected in (("llama", [None] * 4), ("mistral", [(21, 21), None, None, (33, 33)])):
        model = tiny_text_model(kind).eval()
        split_attention(model)
        for masks in seen_masks(model, sequence(), monkeypatch):
            assert isinstance(masks, SampleMasks)
            assert masks.lengths == LENGTHS
            assert [None if mask is None else tuple(mask.shape[2:]) for mask in masks.masks] == expected


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_padded_rows_and_answers_are_bit_for_bit_what_they_were(kind):
    model, padded = tiny_text_model(kind).eval(), text_trial().padded
    logits = model(**padded).logits
    prompt = {"input_ids": padded["input_ids"][:, :7], "attention_mask": padded["attention_mask"][:, :7]}
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert split_attention(model)
    assert torch.equal(model(**padded).logits, logits)
    assert torch.equal(model.generate(**prompt, max_new_tokens=12, do_sample=False), answer)


def test_it_is_undone_and_done_twice_without_harm():
    model = tiny_text_model("llama")
    assert split_attention(model) and split_attention(model)
    assert model.config._attn_implementation == "tunesmith_sdpa_apart"
    restore_attention(model)
    restore_attention(model)
    assert model.config._attn_implementation == "sdpa"


def test_models_with_attention_of_their_own_are_left_as_they_are(recwarn):
    model = tiny_text_model("gptj")
    assert not split_attention(model)
    assert model.config._attn_implementation == "eager"


def test_towers_keep_theirs_and_nothing_of_it_is_saved(qwen2_5_vl_folder: Path, tmp_path: Path):
    model = AutoModelForImageTextToText.from_pretrained(qwen2_5_vl_folder)
    assert split_attention(model)
    assert model.config.text_config._attn_implementation == "tunesmith_sdpa_apart"
    assert model.config.vision_config._attn_implementation == "sdpa"
    model.save_pretrained(tmp_path)
    assert "tunesmith" not in (tmp_path / "config.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["model_type"] == "qwen2_5_vl"


def test_lengths_that_are_not_the_sequences_are_an_error():
    model = tiny_text_model("llama")
    split_attention(model)
    with samples_apart((20, 30)), pytest.raises(RuntimeError, match="a mask over 57 tokens was asked for samples of"):
        model(**sequence())


def test_checkpointed_layers_recompute_with_the_same_samples():
    gradients = []
    for checkpointed in (False, True):
        model = tiny_text_model("mistral").double()
        split_attention(model)
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        with samples_apart(LENGTHS):
            loss = model(**sequence()).logits.square().mean()
        loss.backward()  # outside: what the layers recompute with came in the mask
        gradients.append(model.model.layers[0].self_attn.q_proj.weight.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_nothing_on_its_way_asks_the_device():
    """On a GPU each of these operations makes the step wait for everything before it."""
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
    asked = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            asked.extend(name for name in waits if func.overloadpacket.__name__ == name)
            return func(*args, **(kwargs or {}))

    model, inputs = tiny_text_model("mistral"), sequence()
    split_attention(model)
    with Watch(), samples_apart(LENGTHS):
        model(**inputs).logits.square().mean().backward()
    assert asked == []
