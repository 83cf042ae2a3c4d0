"""Split attention: each sample by itself where samples are packed, and elsewhere what the model did before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.models.packed_models import text_trial, tiny_text_model
from tunesmith.models.packing.positions import restarting_positions
from tunesmith.models.packing.split_attention import SampleMasks, restore_attention, samples_apart, split_attention
from tunesmith.models.packing.strands import strands_of

LENGTHS = (21, 1, 2, 33)
TREES = (23, 4, 30, 8)
ANSWERS = ((3, 5), (), (4, 12, 1), (3, 3))
"""Long beginnings and short ones, one to three answers, a plain sample among them."""


def sequence(lengths=LENGTHS, branches=()):
    ids = torch.randint(2, 96, (1, sum(lengths)), generator=torch.Generator().manual_seed(3))
    positions = restarting_positions(lengths, branches)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": torch.ones_like(ids), "use_cache": False}


def rows_of(ids):
    """The rows that the strands of TREES would be alone, with how many tokens each repeats."""
    for strand in strands_of(TREES, ANSWERS):
        shared, own = ids[:, strand.root : strand.root + strand.shared], ids[:, strand.start : strand.stop]
        yield torch.cat([shared, own], dim=1), strand.shared


def seen_masks(model, inputs, monkeypatch, lengths=LENGTHS, branches=()):
    """The masks that the layers are given, one a layer."""
    found = []
    for layer in model.model.layers:
        forward = layer.self_attn.forward

        def watching(*args, forward=forward, **options):
            found.append(options["attention_mask"])
            return forward(*args, **options)

        monkeypatch.setattr(layer.self_attn, "forward", watching)
    with torch.no_grad(), samples_apart(lengths, branches):
        model(**inputs)
    return found


def shapes_of(masks):
    assert isinstance(masks, SampleMasks)
    return [None if part.mask is None else tuple(part.mask.shape[2:]) for part in masks.strands]


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
            assert [part.strand for part in masks.strands] == list(strands_of(LENGTHS))
            assert shapes_of(masks) == expected


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gpt_oss"])
def test_every_answer_is_computed_as_if_it_stood_alone_behind_the_beginning(kind):
    model = tiny_text_model(kind).double().eval()
    if kind == "gpt_oss":
        model.set_experts_implementation("eager")
    inputs = sequence(TREES, ANSWERS)
    expected = [model(input_ids=row).logits[:, shared:] for row, shared in rows_of(inputs["input_ids"])]
    assert split_attention(model)
    with samples_apart(TREES, ANSWERS):
        found = model(**inputs).logits
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-5, atol=1e-5)
    with samples_apart(TREES):
        mixed = model(**inputs).logits
    assert not torch.allclose(mixed[:, 18:23], found[:, 18:23], rtol=1e-2)  # the second answer, when it sees the first


def test_answers_take_masks_of_their_own_queries_and_none_where_the_beginning_is_the_shorter(monkeypatch):
    model = tiny_text_model("llama").eval()
    split_attention(model)
    expected = [None, (5, 20), None, None, (12, 25), None, None, None]
    for masks in seen_masks(model, sequence(TREES, ANSWERS), monkeypatch, TREES, ANSWERS):
        assert shapes_of(masks) == expected
        assert [part.queries for part in masks.strands] == [18, 5, 4, 17, 12, 1, 5, 5]
        assert torch.equal(masks.strands[1].mask[0, 0], torch.ones(5, 20, dtype=torch.bool).tril(15))


def test_windows_count_from_where_the_answer_would_stand_alone(monkeypatch):
    model = tiny_text_model("mistral").eval()  # a window of 8
    split_attention(model)
    for masks in seen_masks(model, sequence(TREES, ANSWERS), monkeypatch, TREES, ANSWERS):
        causal = torch.ones(5, 20, dtype=torch.bool).tril(15)
        assert torch.equal(masks.strands[1].mask[0, 0], causal & ~causal.new_ones(5, 20).tril(7))
        assert shapes_of(masks)[-2:] == [None, None]


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


@pytest.mark.parametrize(("lengths", "branches"), [(LENGTHS, ()), (TREES, ANSWERS)])
def test_checkpointed_layers_recompute_with_the_same_samples(lengths, branches):
    gradients = []
    for checkpointed in (False, True):
        model = tiny_text_model("mistral").double()
        split_attention(model)
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        with samples_apart(lengths, branches):
            loss = model(**sequence(lengths, branches)).logits.square().mean()
        loss.backward()  # outside: what the layers recompute with came in the mask
        gradients.append(model.model.layers[0].self_attn.q_proj.weight.grad)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize(("lengths", "branches"), [(LENGTHS, ()), (TREES, ANSWERS)])
def test_nothing_on_its_way_asks_the_device(lengths, branches):
    """On a GPU each of these operations makes the step wait for everything before it."""
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")
    asked = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            asked.extend(name for name in waits if func.overloadpacket.__name__ == name)
            return func(*args, **(kwargs or {}))

    model, inputs = tiny_text_model("mistral"), sequence(lengths, branches)
    split_attention(model)
    with Watch(), samples_apart(lengths, branches):
        model(**inputs).logits.square().mean().backward()
    assert asked == []
