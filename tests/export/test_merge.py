"""A merged folder answers as base + adapter do, for every kind of adapter and layout of stored keys.

Weights are float64, so that a merged weight can be compared with its formula exactly. Logits are compared to 1e-5:
transformers' norms compute in float32 whatever the weights are.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.export.adapters import LINEAR, in_float64, in_module_layout, load, logits, write_adapter
from tests.tiny import tiny_folder
from tunesmith.errors import ModelError
from tunesmith.export.carried import adjust_config
from tunesmith.export.files import copy_other_files
from tunesmith.export.merge import NotByWeightError, plan_merge, write_merged
from tunesmith.export.shards import ShardWriter
from tunesmith.models.adapters.attach import attach_adapter, merge_adapters

KINDS_OF_ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ranks and alphas by module": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 32}},
    "biases beside it": {"bias": "all"},
    "biases of its layers": {"bias": "lora_only"},
    "the head in full": {"modules_to_save": ["lm_head"]},
    "the embedding in full": {"modules_to_save": ["embed_tokens"]},
    "on the embedding": {"target_modules": [*LINEAR, "embed_tokens"]},
    "on the head": {"target_modules": [*LINEAR, "lm_head"]},
}


def merge(base: Path, adapters: tuple[Path, ...], target: Path, **options: Any) -> bool:
    """Weights and files of a merged folder; whether embedding and head came apart."""
    target.mkdir()
    copy_other_files(base, target)
    writer = ShardWriter(target, shard_gb=options.pop("shard_gb", 5), legacy=options.pop("legacy", False))
    untied = write_merged(plan_merge(base, adapters), writer, dtype=options.get("dtype"))
    writer.finish()
    adjust_config(target, untied=untied, dtype=options.get("dtype"))
    return untied


def assert_equal_models(merged: Path, base: Path, adapter: Path) -> None:
    bare = logits(load(base))
    expected = logits(attach_adapter(load(base), adapter, trains=False).eval())
    assert (expected - bare).abs().max() > 0.1
    assert_close(logits(load(merged)), expected)


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.fixture(scope="module")
def text_base(qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding and head tied."""
    return in_float64(qwen2_folder, tmp_path_factory.mktemp("text") / "base")


@pytest.fixture(scope="module")
def vision_base(qwen2_5_vl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding and head apart, keys in the hub's layout."""
    return in_float64(qwen2_5_vl_folder, tmp_path_factory.mktemp("vision") / "base")


@pytest.mark.parametrize("kind", KINDS_OF_ADAPTERS)
def test_text_model(kind: str, text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", **KINDS_OF_ADAPTERS[kind])
    merge(text_base, (adapter,), tmp_path / "merged")
    assert_equal_models(tmp_path / "merged", text_base, adapter)


@pytest.mark.parametrize("kind", ["lora", "dora", "biases beside it", "the head in full", "on the embedding"])
def test_vision_model(kind: str, vision_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(vision_base, tmp_path / "adapter", **KINDS_OF_ADAPTERS[kind])
    merge(vision_base, (adapter,), tmp_path / "merged")
    assert_equal_models(tmp_path / "merged", vision_base, adapter)


@pytest.mark.parametrize("scale", ["lora", "rslora"])
def test_a_merged_weight_is_the_base_s_plus_scaled_b_a(scale: str, text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", **KINDS_OF_ADAPTERS[scale])
    merge(text_base, (adapter,), tmp_path / "merged")
    name = "model.layers.1.mlp.down_proj"
    base, merged = (
        load_file(folder / "model.safetensors")[f"{name}.weight"] for folder in (text_base, tmp_path / "merged")
    )
    a, b = (load_file(adapter / "adapter_model.safetensors")[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    factor = {"lora": 6 / 4, "rslora": 6 / 4**0.5}[scale]
    torch.testing.assert_close(merged, base + factor * b @ a, rtol=0, atol=1e-14)


def test_a_dora_weight_has_the_trained_norms(text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", use_dora=True)
    merge(text_base, (adapter,), tmp_path / "merged")
    name = "model.layers.0.self_attn.q_proj"
    stored = load_file(adapter / "adapter_model.safetensors")
    merged = load_file(tmp_path / "merged/model.safetensors")[f"{name}.weight"]
    magnitude = stored[f"base_model.model.{name}.lora_magnitude_vector"]
    torch.testing.assert_close(merged.norm(dim=1), magnitude.abs(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava", "gemma3", "internvl"])
def test_both_layouts_of_stored_keys(kind: str, tmp_path: Path) -> None:
    hub = in_float64(tiny_folder(kind, tmp_path / "float32"), tmp_path / "hub")
    modules = in_module_layout(hub, tmp_path / "modules")
    adapter = write_adapter(hub, tmp_path / "adapter", target_modules=["q_proj", "v_proj"])
    for base in (hub, modules):
        merged = tmp_path / f"merged-{base.name}"
        merge(base, (adapter,), merged)
        assert_equal_models(merged, base, adapter)
        assert stored_keys(merged) == stored_keys(base)
    assert stored_keys(hub) != stored_keys(modules)


def stored_keys(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def test_tied_weights_stay_tied_where_the_adapter_leaves_them(text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter")
    assert merge(text_base, (adapter,), tmp_path / "merged") is False
    assert stored_keys(tmp_path / "merged") == stored_keys(text_base)
    assert (tmp_path / "merged/config.json").read_bytes() == (text_base / "config.json").read_bytes()


def test_tied_weights_that_trained_together_stay_tied(text_base: Path, tmp_path: Path) -> None:
    options = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    adapter = write_adapter(text_base, tmp_path / "adapter", **options)
    assert merge(text_base, (adapter,), tmp_path / "merged") is False
    assert_equal_models(tmp_path / "merged", text_base, adapter)


def test_tied_weights_of_which_one_trained_come_apart(text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", modules_to_save=["lm_head"])
    assert merge(text_base, (adapter,), tmp_path / "merged") is True
    assert stored_keys(tmp_path / "merged") == stored_keys(text_base) | {"lm_head.weight"}
    assert json.loads((tmp_path / "merged/config.json").read_text())["tie_word_embeddings"] is False


def test_several_adapters_are_merged_in_order(text_base: Path, tmp_path: Path) -> None:
    first = write_adapter(text_base, tmp_path / "first", use_dora=True)
    second = write_adapter(text_base, tmp_path / "second", use_dora=True, r=2)
    merge(text_base, (first, second), tmp_path / "merged")
    expected = logits(merge_adapters(load(text_base), [first, second]))
    torch.testing.assert_close(
        logits(load(tmp_path / "merged")), expected, rtol=0, atol=1e-5 * expected.abs().max().item()
    )


def test_weights_are_summed_in_float32_and_rounded_once(qwen2_folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(qwen2_folder, tmp_path / "adapter")
    merge(qwen2_folder, (adapter,), tmp_path / "float32")
    merge(qwen2_folder, (adapter,), tmp_path / "bfloat16", dtype=torch.bfloat16)
    exact = load_file(tmp_path / "float32/model.safetensors")
    rounded = load_file(tmp_path / "bfloat16/model.safetensors")
    assert all(torch.equal(rounded[key], exact[key].bfloat16()) for key in exact)
    assert load(tmp_path / "bfloat16").dtype == torch.bfloat16


def test_a_base_of_several_bin_files(text_base: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    copy_other_files(text_base, older)
    writer = ShardWriter(older, shard_gb=0.0002, legacy=True)
    write_merged(plan_merge(text_base), writer, dtype=None)
    assert len(writer.finish()) > 1
    adapter = write_adapter(text_base, tmp_path / "adapter")
    merge(older, (adapter,), tmp_path / "merged")
    assert_equal_models(tmp_path / "merged", text_base, adapter)


def test_legacy_format_is_read_by_transformers(text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter")
    merge(text_base, (adapter,), tmp_path / "merged", legacy=True)
    assert [file.name for file in (tmp_path / "merged").glob("*.bin")] == ["pytorch_model.bin"]
    assert not [*(tmp_path / "merged").glob("*.safetensors")]
    assert_equal_models(tmp_path / "merged", text_base, adapter)


def test_an_adapter_of_another_model_is_refused(text_base: Path, vision_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(vision_base, tmp_path / "adapter", target_modules=["qkv", "q_proj"])
    with pytest.raises(ModelError, match="does not fit the base model"):
        plan_merge(text_base, (adapter,))


def test_an_adapter_with_absent_weights_is_refused(text_base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", target_modules=["q_proj"])
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj", "k_proj"]}))
    with pytest.raises(ModelError, match="has no counterpart"):
        plan_merge(text_base, (adapter,))


@pytest.mark.parametrize(
    "options", [{"lora_bias": True, "target_modules": ["q_proj"]}, {"trainable_token_indices": [1]}]
)
def test_adapters_that_change_more_than_single_weights_are_left_to_the_other_way(
    options: dict[str, Any], text_base: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(text_base, tmp_path / "adapter", **options)
    with pytest.raises(NotByWeightError):
        plan_merge(text_base, (adapter,))


def test_without_adapters_every_byte_is_kept(text_base: Path, tmp_path: Path) -> None:
    shutil.copytree(text_base, tmp_path / "base")
    merge(tmp_path / "base", (), tmp_path / "copy")
    before, after = (load_file(folder / "model.safetensors") for folder in (text_base, tmp_path / "copy"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
