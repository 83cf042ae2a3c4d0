"""Samples in one sequence: the loss and gradients of each run apart, for every architecture, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from peft import LoraConfig, get_peft_model

from tests.invariants.packed_rows import Given, assert_same, loss_and_gradients
from tests.tiny import KINDS, tiny_folder
from tunesmith.data.batches.packing_trial import build_trial
from tunesmith.models.packing.proof import Packing, prove_packing
from tunesmith.models.packing.split_attention import split_attention

IN_FLOAT32 = {
    "gemma3_text",
    "gemma3",
    "llava",
    "llava_onevision",
    "glm4v",
    "minicpmv4_6",
    "minicpmv4_7",
    "qwen2_audio",
    "qwen2_5_omni",
}
"""Norms, positions or tower parts of these are computed in float32 whatever the weights' format."""
GivenOf = Callable[[str], Given]


def precision_of(kind: str) -> float:
    return 1e-5 if kind in IN_FLOAT32 else 1e-11


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> GivenOf:
    return cache(lambda kind: Given(kind, tiny_folder(kind, tmp_path_factory.mktemp(kind))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_sequence_is_its_samples_apart(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    model = rows.model()
    apart = loss_and_gradients(model, [rows.batch(model, [index], packed=False) for index in range(4)])
    padded = loss_and_gradients(model, [rows.batch(model, range(4), packed=False)])

    assert split_attention(model)
    packed = loss_and_gradients(model, [rows.batch(model, range(4), packed=True)])
    reordered = loss_and_gradients(model, [rows.batch(model, order, packed=True) for order in ([3, 2], [1, 0])])

    for found in (padded, packed, reordered):
        assert_same(apart, found, rel=precision_of(kind))
    again = loss_and_gradients(model, [rows.batch(model, range(4), packed=False)])
    assert_same(padded, again, rel=0.0)  # padded rows are computed as if attention had never been split


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_proven_on_the_rows_themselves(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    trial = build_trial(
        rows.examples, rows.media_of, packed=rows.collator(packed=True), padded=rows.collator(packed=False)
    )
    found = prove_packing(rows.model().float(), trial)
    assert isinstance(found, Packing), found
    assert found.splits


@pytest.mark.parametrize("kind", ["gemma3_text", "gemma3"])
def test_a_sliding_window_shorter_than_a_sample(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    model = rows.model()
    model.config.get_text_config().sliding_window = 7
    apart = loss_and_gradients(model, [rows.batch(model, [index], packed=False) for index in range(4)])
    assert abs(apart[0] - loss_and_gradients(rows.model(), [rows.batch(model, range(4), packed=False)])[0]) > 1e-3

    assert split_attention(model)
    packed = loss_and_gradients(model, [rows.batch(model, range(4), packed=True)])
    assert_same(apart, packed, rel=precision_of(kind))


@pytest.mark.parametrize("kind", ["qwen2", "gemma3", "qwen2_5_vl", "llava"])
def test_under_lora_and_with_checkpointed_activations(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(rows.model(), config).double().train()
    apart = loss_and_gradients(model, [rows.batch(model, [index], packed=False) for index in range(4)])

    assert split_attention(model)
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    packed = loss_and_gradients(model, [rows.batch(model, range(4), packed=True)])
    assert all("lora_" in name for name in packed[1])
    assert_same(apart, packed, rel=precision_of(kind))
