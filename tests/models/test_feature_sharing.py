"""What frozen towers make of a batch is computed once for policy and reference, and changes no number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.given import batch_for, batch_for_kind, settings_for
from tests.tiny import AUDIO_KINDS, IMAGE_KINDS, tiny_folder
from tunesmith.models.feature_sharing import FeatureSharing
from tunesmith.models.load import load_model
from tunesmith.models.parts import core_model, find_parts
from tunesmith.models.shared_parts import fixed_parts
from tunesmith.models.tuning.apply import apply_tuning

MEDIA_KINDS = list(dict.fromkeys([*IMAGE_KINDS, *AUDIO_KINDS]))
Batch = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)))


def tuned(folder: Path, **tuning: Any) -> nn.Module:
    """A model in training mode with what the settings say on it, adapters that change something among it."""
    settings = settings_for(folder, tuning={"lora_dropout": 0.0, **tuning})
    torch.manual_seed(0)
    model = apply_tuning(load_model(settings, trains=True), settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model.train()


@contextmanager
def seen(model: nn.Module) -> Iterator[dict[str, int]]:
    """How often each tower is really computed: calls of its first linear layer."""
    core, counts, handles = core_model(model), {}, []
    for tower in find_parts(model).vision_tower:
        first = next(module for module in core.get_submodule(tower).modules() if isinstance(module, nn.Linear))
        counts[tower] = 0

        def count(*_: Any, tower: str = tower) -> None:
            counts[tower] += 1

        handles.append(first.register_forward_hook(count))
    yield counts
    for handle in handles:
        handle.remove()


def without_adapter(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad(), model.disable_adapter():
        return model(**batch).logits


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_the_model_with_its_adapter_off_and_on(kind: str, folder_of: Any) -> None:
    model, batch = tuned(folder_of(kind)), batch_for_kind(kind, folder_of(kind))
    expected = without_adapter(model, batch), model(**batch).logits

    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        found = without_adapter(model, batch), model(**batch).logits

    assert set(counts.values()) == {1}
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert not torch.equal(*found)
    assert found[1].requires_grad
    with seen(model) as counts:  # afterwards everything is as it was
        assert torch.equal(model(**batch).logits, expected[1])
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_full_tuning_beside_a_frozen_copy(kind: str, folder_of: Any) -> None:
    model = tuned(folder_of(kind), finetuning_type="full")
    memo = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    reference = copy.deepcopy(model, memo).requires_grad_(False)
    batch = batch_for_kind(kind, folder_of(kind))
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.requires_grad).mul_(1.5)
        before = reference(**batch).logits
    model(**batch).logits.square().mean().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()

    with seen(model) as ours, seen(reference) as theirs, FeatureSharing.find(model, reference).batch():
        with torch.no_grad():
            assert torch.equal(reference(**batch).logits, before)
        model(**batch).logits.square().mean().backward()

    assert (set(ours.values()), set(theirs.values())) == ({0}, {1})
    for name, weight in model.named_parameters():
        assert name not in gradients or torch.equal(weight.grad, gradients[name]), name


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "qwen2_5_omni", "glm4v"])
def test_an_open_projector_inside_the_tower_leaves_its_layers_shared(kind: str, folder_of: Any) -> None:
    model = tuned(folder_of(kind), finetuning_type="full", freeze_multi_modal_projector=False)
    assert any(".0" in name for name in fixed_parts(model))
    batch = batch_for_kind(kind, folder_of(kind))
    expected = model(**batch).logits

    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        first, second = model(**batch).logits, model(**batch).logits

    assert set(counts.values()) == {1}
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)


@pytest.mark.parametrize("kind", ["llava", "gemma3", "minicpmv_2_6"])
def test_an_open_projector_beside_the_tower_is_computed_twice(kind: str, folder_of: Any) -> None:
    model = tuned(folder_of(kind), freeze_multi_modal_projector=False)
    assert fixed_parts(model) == list(find_parts(model).vision_tower)


def test_nothing_is_shared_where_it_could_differ(folder_of: Any) -> None:
    text = tuned(folder_of("qwen2"))
    open_tower = tuned(folder_of("llava"), freeze_vision_tower=False)
    dropping = tuned(folder_of("qwen2_5_vl"))
    core_model(dropping).model.visual.blocks[0].attn.attention_dropout = 0.1
    plain, other = tuned(folder_of("llava")), tuned(folder_of("llava"))

    assert FeatureSharing.find(text, None).parts == ()
    assert FeatureSharing.find(open_tower, None).parts == ()
    assert FeatureSharing.find(dropping, None).parts == ()
    assert FeatureSharing.find(plain, other).parts == ()  # equal weights, but not the very same
    assert len(FeatureSharing.find(plain, None).parts) == 2


def test_other_media_are_computed(folder_of: Any) -> None:
    folder = folder_of("qwen2_5_vl")
    model, batch = tuned(folder), batch_for(folder, with_image=True)
    changed = {**batch, "pixel_values": batch["pixel_values"] * 0.5}
    equal = {**batch, "pixel_values": batch["pixel_values"].clone()}
    expected = model(**batch).logits, model(**changed).logits

    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        found = model(**batch).logits, model(**changed).logits
        again = model(**equal).logits

    assert counts == {"model.visual": 2}
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert torch.equal(again, expected[0])


def test_what_was_kept_is_gone_after_its_second_use(folder_of: Any) -> None:
    folder = folder_of("llava")
    model, batch = tuned(folder), batch_for(folder, with_image=True)

    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        for _ in range(3):
            model(**batch)
    assert set(counts.values()) == {2}
    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        model(**batch)
    assert set(counts.values()) == {1}


def test_a_changed_output_is_not_given_again(folder_of: Any) -> None:
    folder = folder_of("llava")
    model, batch = tuned(folder), batch_for(folder, with_image=True)
    projector = core_model(model).model.multi_modal_projector
    handle = projector.register_forward_hook(lambda _module, _args, output: output.mul_(2.0))
    expected = model(**batch).logits

    with FeatureSharing.find(model, None).batch():
        found = model(**batch).logits, model(**batch).logits

    handle.remove()
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)


def test_pictures_seen_a_few_at_a_time_are_shared_too(folder_of: Any) -> None:
    folder = folder_of("minicpmv_2_6")
    model, batch = tuned(folder), batch_for(folder, with_image=True)
    core_model(model).config.vision_batch_size = 1
    num_slices = len(batch["tgt_sizes"])
    expected = without_adapter(model, batch), model(**batch).logits

    with seen(model) as counts, FeatureSharing.find(model, None).batch():
        found = without_adapter(model, batch), model(**batch).logits

    assert counts == {"vpm": num_slices}
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
