from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from tests.tiny import tiny_folder
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.adapters.targets import compact_targets, projector_in_full, resolve_targets
from tunesmith.models.load import model_class_of
from tunesmith.models.parts import find_parts

LANGUAGE_LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
Resolve = Callable[..., list[str]]


def resolve_in(folder: Path, **tuning: Any) -> list[str]:
    """The targets for the model in `folder`."""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = model_class_of(config, folder)(config)
    return resolve_targets(model, find_parts(model), TuningSettings.model_validate(tuning))


@pytest.fixture
def resolve(qwen2_5_vl_folder: Path) -> Resolve:
    """The targets in the tiny Qwen2.5-VL: two layers in either half."""
    return lambda **tuning: resolve_in(qwen2_5_vl_folder, **tuning)


def last_names(targets: list[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in targets}


def test_all_is_every_linear_layer_of_the_language_model_but_never_the_head(resolve: Resolve) -> None:
    targets = resolve()

    assert len(targets) == 14
    assert last_names(targets) == LANGUAGE_LAYERS
    assert all(name.startswith("model.language_model.layers.") for name in targets)


def test_all_takes_in_the_parts_that_are_not_frozen(resolve: Resolve) -> None:
    with_tower = set(resolve(freeze_vision_tower=False)) - set(resolve())
    only_tower = resolve(freeze_vision_tower=False, freeze_language_model=True)

    assert len(with_tower) == 10 and all(name.startswith("model.visual.blocks.") for name in with_tower)
    assert set(only_tower) == with_tower


def test_an_open_projector_gets_adapters_only_when_its_layers_are_named(resolve: Resolve) -> None:
    layers = {"model.visual.merger.mlp.0", "model.visual.merger.mlp.2"}
    for target in ("mlp.0,mlp.2", r"model\.visual\.merger\..*"):
        assert set(resolve(lora_target=target, freeze_multi_modal_projector=False)) == layers
    assert not layers & set(resolve(freeze_multi_modal_projector=False, freeze_vision_tower=False))


@pytest.mark.parametrize(
    ("kind", "tuning", "expected"),
    [
        ("llava", {}, ["model.multi_modal_projector"]),
        ("llava", {"freeze_multi_modal_projector": True}, []),
        ("llava", {"lora_target": "linear_1,q_proj"}, []),
        ("llava", {"additional_target": "multi_modal_projector"}, []),
        ("llava", {"additional_target": "multi_modal_projector.linear_2"}, []),
        ("qwen2_5_vl", {}, ["model.visual.merger"]),
        ("qwen3_vl", {}, ["model.visual.merger", *(f"model.visual.deepstack_merger_list.{index}" for index in (0, 1))]),
        ("qwen2", {}, []),
    ],
)
def test_an_open_projector_trains_in_full_unless_something_else_is_said_of_it(
    kind: str, tuning: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    folder = tiny_folder(kind, tmp_path)
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = model_class_of(config, folder)(config)
    settings = TuningSettings.model_validate({"freeze_multi_modal_projector": False, **tuning})
    assert projector_in_full(model, find_parts(model), settings) == expected


@pytest.mark.parametrize("target", ["q_proj,v_proj", "q_proj, v_proj", ("q_proj", "v_proj")])
def test_names(resolve: Resolve, target: str | tuple[str, ...]) -> None:
    assert resolve(lora_target=target) == [
        f"model.language_model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")
    ]


def test_longer_names_and_whole_ones(resolve: Resolve) -> None:
    assert len(resolve(lora_target="self_attn.q_proj")) == 2
    assert resolve(lora_target="model.language_model.layers.1.mlp.up_proj") == [
        "model.language_model.layers.1.mlp.up_proj"
    ]


def test_a_regular_expression_matches_the_whole_name(resolve: Resolve) -> None:
    found = resolve(lora_target=r"model\.language_model\..*layers\.1\.self_attn\.(q_proj|k_proj)")

    assert found == [f"model.language_model.layers.1.self_attn.{name}" for name in ("q_proj", "k_proj")]
    with pytest.raises(UsageError, match="matches no layer"):
        resolve(lora_target=r"layers\.1\.self_attn\.q_proj|nothing")


def test_frozen_parts_win_over_names_and_expressions(resolve: Resolve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        targets = resolve(lora_target=r".*\.(q_proj|qkv)")

    assert last_names(targets) == {"q_proj"}
    assert "2 of 4 matching layers lie in frozen parts (freeze_vision_tower: true)" in caplog.text
    with pytest.raises(UsageError, match="set one of freeze_vision_tower: false"):
        resolve(lora_target="qkv")


def test_an_open_tower_that_no_target_reaches_is_told_of(resolve: Resolve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        resolve(lora_target="up_proj,qkv", freeze_vision_tower=False)
        assert "vision tower, which stays" not in caplog.text
        resolve(lora_target=r".*language_model.*q_proj", freeze_vision_tower=False)

    assert "lora_target: .*language_model.*q_proj matches no layer of the vision tower, which stays" in caplog.text


def test_the_head_takes_an_adapter_only_when_named(resolve: Resolve) -> None:
    assert resolve(lora_target="lm_head") == ["lm_head"]


def test_a_name_that_is_not_there_lists_those_that_are(resolve: Resolve) -> None:
    with pytest.raises(UsageError) as error:
        resolve(lora_target="query_key_value")

    assert str(error.value) == (
        "lora_target: query_key_value matches no layer of the model; its linear layers are down_proj, gate_proj, "
        "k_proj, lm_head, mlp.0, mlp.2, o_proj, proj, q_proj, qkv, up_proj, v_proj; all takes every one but the "
        "output head"
    )


def test_an_expression_that_is_none(resolve: Resolve) -> None:
    with pytest.raises(UsageError, match="is not a regular expression"):
        resolve(lora_target="(q_proj")


def test_transposed_linear_layers_count(tmp_path: Path) -> None:
    assert last_names(resolve_in(tiny_folder("gpt2", tmp_path))) == {"c_attn", "c_proj", "c_fc"}


def test_routing_of_experts_is_left_alone(tmp_path: Path) -> None:
    targets = resolve_in(tiny_folder("qwen3_moe", tmp_path))

    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= last_names(targets)
    assert "gate" not in last_names(targets)


def test_short_names_are_used_where_they_mean_the_same(qwen2_folder: Path, qwen2_5_vl_folder: Path) -> None:
    for folder, expected in ((qwen2_folder, sorted(LANGUAGE_LAYERS)), (qwen2_5_vl_folder, None)):
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = model_class_of(config, folder)(config)
        targets = resolve_targets(model, find_parts(model), TuningSettings())

        # the tower of Qwen2.5-VL has an up_proj of its own, so short names would mean more
        assert compact_targets(model, targets) == (expected or targets)
