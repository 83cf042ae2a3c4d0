"""Which weights are gathered together, which stay whole, and gradients that no process lacks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.train.batches import tuned_model
from tests.train.tiny_models import tiny_model
from tunesmith.models.parts import Part, core_model, find_parts
from tunesmith.train.parallel.fsdp2_gradients import clip_parts, give_zero_gradients, keep_graph
from tunesmith.train.parallel.fsdp2_units import (
    layer_units,
    left_whole,
    may_be_left_out,
    owners_of_trained,
    trained_format,
    trains_beside_text,
)


def test_a_decoder_layer_is_a_unit_and_a_tower_is_none():
    model = tiny_model("qwen2_5_vl")
    layers = model.get_submodule(find_parts(model).layers)
    assert layer_units(model) == list(layers)


def test_a_layer_that_text_skips_is_no_unit():
    model = tiny_model("qwen2")
    core_model(model).config.cross_attention_layers = [0]
    assert layer_units(model) == list(model.get_submodule(find_parts(model).layers))[1:]


def test_what_cannot_be_cut_stays_whole():
    model = nn.Module()
    model.scale = nn.Parameter(torch.tensor(1.0))
    model.matrix = nn.Parameter(torch.ones(4, 4))
    model.head = nn.Parameter(torch.ones(2).double())
    model.frozen = nn.Parameter(torch.ones(2).double(), requires_grad=False)
    found = left_whole(model, trained=trained_format(model))
    assert found == {model.scale, model.head}


@pytest.mark.parametrize(("part", "expected"), [(Part.VISION_TOWER, True), (Part.LANGUAGE_MODEL, False)])
def test_what_trains_beside_text(part, expected):
    model = tiny_model("qwen2_5_vl").requires_grad_(False)
    parts = find_parts(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parts.part_of(name) is part)
    assert trains_beside_text(model) is expected


def test_adapters_in_a_tower_train_beside_text():
    model = tuned_model("qwen2_5_vl", "lora")
    in_tower = any(".visual." in name for name, weight in model.named_parameters() if weight.requires_grad)
    assert trains_beside_text(model) is in_tower


def test_a_weight_that_is_not_used_gets_zeros_and_changes_nothing():
    used, unused = nn.Linear(3, 3), nn.Linear(3, 3)
    outer = nn.ModuleDict({"experts": nn.ModuleList([used, unused])})
    outer.forward = lambda value: (used(value), "kept")
    value = torch.randn(2, 3)
    expected = used(value)
    give_zero_gradients(outer, may_be_left_out(outer))
    output, kept = outer(value)
    output.sum().backward()
    assert torch.equal(output, expected)
    assert kept == "kept"
    assert torch.equal(unused.weight.grad, torch.zeros(3, 3))
    assert used.weight.grad.abs().min() > 0
    assert len(owners_of_trained(outer, but=[unused])) == 2


def test_an_embedding_that_does_not_train_hands_out_a_graph_all_the_same():
    embedding = nn.Embedding(5, 3).requires_grad_(False)
    keep_graph(embedding)
    ids = torch.tensor([1, 2])
    assert embedding(ids).requires_grad
    assert torch.equal(embedding(ids), embedding.weight[ids])
    with torch.no_grad():
        assert not embedding(ids).requires_grad


def test_whole_gradients_are_clipped_as_torch_does():
    gradients = [torch.randn(4, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    expected = torch.nn.utils.clip_grad_norm_(parameters, 0.5)
    norm = clip_parts(gradients, lambda _: None, max_norm=0.5)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=0)
