"""Compiled layers compute what the model computed before, for every length."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tunesmith.models.compiling import compile_layers
from tunesmith.models.packing.proof import Packing, Trial, prove_packing


def one_layer_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=96, num_hidden_layers=1, **sizes)).train()


def packed(lengths, seed):
    ids = torch.randint(2, 96, (1, sum(lengths)), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "position_ids": torch.cat([torch.arange(length) for length in lengths])[None]}


def gradients(model, inputs):
    model.zero_grad()
    model(**inputs, use_cache=False).logits.square().mean().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def trial():
    both = packed((5, 8), seed=0)
    first, second = both["input_ids"].split((5, 8), dim=1)
    rows = torch.cat([torch.nn.functional.pad(first, (0, 3)), second])
    mask = torch.tensor([[1] * 5 + [0] * 3, [1] * 8])
    alone = tuple({"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in (first, second))
    return Trial(lengths=(5, 8), packed=both, padded={"input_ids": rows, "attention_mask": mask}, alone=alone)


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_the_model_as_it_was():
    model = one_layer_model()
    assert prove_packing(model, trial(), may_split=False) == Packing(splits=False, axes=None)
    batches = [packed((4, 9), seed=1), packed((7, 3, 11), seed=2)]
    expected = [gradients(model, batch) for batch in batches]
    assert compile_layers(model) == 1
    for batch, before in zip(batches, expected, strict=True):
        for name, gradient in gradients(model, batch).items():
            torch.testing.assert_close(gradient, before[name], rtol=1e-4, atol=1e-7)
