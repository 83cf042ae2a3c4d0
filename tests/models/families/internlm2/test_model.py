"""InternLM2 against the published code: golden/logits.json holds what its class answered, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tests.models.families.known_folder import known_weight, logits_at, read_golden, write_known_folder
from tests.models.given import batch_for, logits_of, settings_for
from tests.tiny import tiny_folder
from tunesmith.models.families.internlm2.config import InternLM2Config
from tunesmith.models.load import load_config, load_model, read_pretrained
from tunesmith.models.quantization import is_packed

GOLDEN = read_golden(__file__)
PUBLISHED_LAYER = [
    *("attention.wqkv.weight", "attention.wo.weight", "attention_norm.weight", "ffn_norm.weight"),
    *("feed_forward.w1.weight", "feed_forward.w2.weight", "feed_forward.w3.weight"),
]


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_logits_are_those_of_the_published_class(case: str, tmp_path: Path) -> None:
    golden = GOLDEN["cases"][case]
    logits = logits_at(write_known_folder(tmp_path, golden["config"]), GOLDEN)

    torch.testing.assert_close(logits, torch.tensor(golden["logits"]), rtol=0, atol=1e-5)


def test_beyond_its_length_dynamic_scaling_matters(tmp_path: Path) -> None:
    config = GOLDEN["cases"]["dynamic scaling beyond max_position_embeddings"]["config"]
    scaled = logits_at(write_known_folder(tmp_path / "scaled", config), GOLDEN)
    plain = logits_at(write_known_folder(tmp_path / "plain", {**config, "rope_scaling": None}), GOLDEN)

    assert (scaled - plain).abs().max() > 1e-2


def test_queries_keys_and_values_are_interleaved_by_group(tmp_path: Path) -> None:
    """Four query heads of width 8 on two key heads: rows of two queries, a key and a value, twice."""
    folder = write_known_folder(tmp_path, GOLDEN["cases"]["grouped queries"]["config"])
    fused = known_weight("model.layers.1.attention.wqkv.weight", (64, 32)).view(2, 4, 8, 32)
    attention = load(folder).model.layers[1].self_attn

    assert torch.equal(attention.q_proj.weight, fused[:, :2].reshape(32, 32))
    assert torch.equal(attention.k_proj.weight, fused[:, 2].reshape(16, 32))
    assert torch.equal(attention.v_proj.weight, fused[:, 3].reshape(16, 32))


@pytest.mark.parametrize("case", ["grouped queries", "biases, no groups"])
def test_saving_writes_what_was_read(case: str, tmp_path: Path) -> None:
    folder = write_known_folder(tmp_path / "published", GOLDEN["cases"][case]["config"])
    load(folder).save_pretrained(tmp_path / "again")
    published, again = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "again"))

    assert {f"model.layers.0.{name}" for name in PUBLISHED_LAYER} <= set(again)
    assert {"model.tok_embeddings.weight", "output.weight"} <= set(again)
    assert set(again) == set(published)
    assert all(torch.equal(again[name], published[name]) for name in published)


def test_a_model_made_from_its_config_alone_is_saved_under_published_names(tmp_path: Path) -> None:
    folder = tiny_folder("internlm2", tmp_path / "published")
    settings = settings_for(folder, train_from_scratch=True)
    load_model(settings, trains=True).save_pretrained(tmp_path / "random")

    assert set(load_file(tmp_path / "random" / "model.safetensors")) == set(load_file(folder / "model.safetensors"))


def test_the_native_config_is_the_same_model_in_transformers_own_class(tmp_path: Path) -> None:
    model = load(write_known_folder(tmp_path, GOLDEN["cases"]["linear scaling"]["config"]))
    config: Any = model.config
    assert isinstance(config, InternLM2Config)
    native = LlamaForCausalLM(config.as_llama()).eval()
    native.load_state_dict(model.state_dict())
    ids = torch.tensor([GOLDEN["ids"]])

    assert native.config.model_type == "llama"
    with torch.no_grad():
        assert torch.equal(native(ids).logits, model(ids).logits)


def test_quantised_weights_are_packed_after_they_were_split(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = tiny_folder("internlm2", tmp_path)
    batch = batch_for(folder)
    packed = load_model(settings_for(folder, quantization_bit=4), trains=True)
    whole = load_model(settings_for(folder), trains=True)

    attention = packed.get_submodule("model.layers.0.self_attn")
    assert all(is_packed(getattr(attention, name).weight) for name in ("q_proj", "k_proj", "v_proj"))
    error = logits_of(packed, batch) - logits_of(whole, batch)
    assert 0 < error.abs().max() < 0.4


def test_the_folder_keeps_its_own_config(tmp_path: Path) -> None:
    folder = tiny_folder("internlm2", tmp_path / "published")
    load(folder).save_pretrained(tmp_path / "again")
    published, again = (json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "again"))
    published.pop("transformers_version")

    assert {key: again.get(key) for key in published} == published
    assert "rope_parameters" not in again


def test_the_vocabulary_grows_and_is_saved_grown(tmp_path: Path) -> None:
    folder = tiny_folder("internlm2", tmp_path / "published")
    settings = settings_for(folder, resize_vocab=True, add_special_tokens=["<|new|>"])
    load_model(settings, trains=True).save_pretrained(tmp_path / "grown")

    assert load_file(tmp_path / "grown" / "model.safetensors")["output.weight"].shape == (704, 32)
    assert load(tmp_path / "grown").config.vocab_size == 704


def load(folder: Path) -> Any:
    return read_pretrained(folder, load_config(folder), dtype=None, device="cpu").eval()
