"""XTuner's checkpoints of language models: what comes out must compute what the training computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.convert.xtuner import (
    CONFIG,
    model_weights,
    prefixed,
    random_lora,
    with_lora_by_hand,
    write_pth,
    write_zero2,
    write_zero3,
)
from tests.tiny import tiny_folder
from tunesmith import load
from tunesmith.convert.pth import convert_pth
from tunesmith.convert.request import PthRequest
from tunesmith.errors import ModelError, UsageError

IDS = torch.randint(5, 500, (2, 12), generator=torch.Generator().manual_seed(0))


def _logits(folder: Path) -> torch.Tensor:
    model, _ = load(folder, dtype="float64", device="cpu")
    with torch.no_grad():
        return model(input_ids=IDS).logits


def _adapter(folder: Path) -> tuple[dict[str, object], list[str]]:
    from safetensors.torch import load_file

    return json.loads((folder / "adapter_config.json").read_text()), list(
        load_file(folder / "adapter_model.safetensors")
    )


@pytest.mark.parametrize("kind", ["llama", "qwen2", "internlm2"])
@pytest.mark.parametrize("layout", ["file", "zero2", "zero3"])
def test_an_adapter_computes_what_it_was_trained_to(kind: str, layout: str, tmp_path: Path) -> None:
    base = tiny_folder(kind, tmp_path / "base")
    lora = random_lora(base)
    config = CONFIG.format(base=str(base))
    state, place = prefixed("llm.", lora), tmp_path / "iter_500.pth"
    if layout == "file":
        write_pth(place, state, config=config)
    elif layout == "zero2":
        write_zero2(place, state, num_processes=3, config=config)
    else:
        write_zero3(place, state, num_processes=3, config=config)

    said = convert_pth(PthRequest(place, tmp_path / "adapter"))

    assert f"an adapter on {base}" in said
    expected = _logits(with_lora_by_hand(base, lora, tmp_path / "by_hand"))
    torch.testing.assert_close(_logits(tmp_path / "adapter"), expected, rtol=0, atol=1e-5)
    assert (expected - _logits(base)).abs().max() > 0.1


def test_what_the_adapter_says_of_itself(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    write_pth(tmp_path / "iter_1.pth", prefixed("llm.", random_lora(base)), config=CONFIG.format(base=str(base)))
    convert_pth(PthRequest(tmp_path / "iter_1.pth", tmp_path / "adapter"))

    config, names = _adapter(tmp_path / "adapter")
    assert config["base_model_name_or_path"] == str(base)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 6, 0.1)
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "up_proj"]
    assert config["task_type"] == "CAUSAL_LM" and config["modules_to_save"] is None
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names


def test_the_options_go_before_the_config_and_the_config_before_the_checkpoint(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", random_lora(base)), config=CONFIG.format(base="first"))
    (tmp_path / "second.py").write_text(CONFIG.format(base="second").replace("lora_alpha=6", "lora_alpha=32"))

    convert_pth(PthRequest(pth, tmp_path / "a"))
    convert_pth(PthRequest(pth, tmp_path / "b", config=tmp_path / "second.py"))
    convert_pth(PthRequest(pth, tmp_path / "c", config=tmp_path / "second.py", language_model="third", lora_alpha=8))

    said = [_adapter(tmp_path / name)[0] for name in "abc"]
    assert [(one["base_model_name_or_path"], one["lora_alpha"]) for one in said] == [
        ("first", 6),
        ("second", 32),
        ("third", 8),
    ]


def test_what_nothing_says_must_be_given(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", random_lora(base)))
    with pytest.raises(UsageError, match="give --language_model"):
        convert_pth(PthRequest(pth, tmp_path / "out"))
    with pytest.raises(UsageError, match=r"without its alpha.*--lora_alpha"):
        convert_pth(PthRequest(pth, tmp_path / "out", language_model=str(base)))
    assert not (tmp_path / "out").exists()


def test_an_adapter_on_only_some_layers_names_them_whole(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    some = {name: tensor for name, tensor in random_lora(base).items() if ".layers.1." in name}
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", some), config=CONFIG.format(base=str(base)))
    convert_pth(PthRequest(pth, tmp_path / "adapter"))
    assert "model.layers.1.self_attn.q_proj" in _adapter(tmp_path / "adapter")[0]["target_modules"]
    expected = _logits(with_lora_by_hand(base, some, tmp_path / "by_hand"))
    torch.testing.assert_close(_logits(tmp_path / "adapter"), expected, rtol=0, atol=1e-5)


def test_a_module_that_trained_in_full_beside_the_adapter_goes_along(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    head = torch.randn_like(model_weights(base)["lm_head.weight"])
    lora = random_lora(base)
    state = {**lora, "base_model.model.lm_head.modules_to_save.default.weight": head}
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", state), config=CONFIG.format(base=str(base)))
    convert_pth(PthRequest(pth, tmp_path / "adapter"))
    assert _adapter(tmp_path / "adapter")[0]["modules_to_save"] == ["lm_head"]
    model, _ = load(tmp_path / "adapter", device="cpu")
    assert torch.equal(dict(model.named_parameters())["base_model.model.lm_head.modules_to_save.default.weight"], head)


@pytest.mark.parametrize("kind", ["llama", "internlm2"])
@pytest.mark.parametrize("layout", ["file", "zero3"])
def test_a_model_trained_in_full_has_its_bases_other_files(kind: str, layout: str, tmp_path: Path) -> None:
    base = tiny_folder(kind, tmp_path / "base")
    (base / "LICENSE").write_text("free")
    trained = {name: tensor + 0.05 for name, tensor in model_weights(base).items()}
    state, place, config = prefixed("llm.", trained), tmp_path / "iter_9.pth", CONFIG.format(base=str(base))
    write_pth(place, state, config=config) if layout == "file" else write_zero3(
        place, state, num_processes=2, config=config
    )

    convert_pth(PthRequest(place, tmp_path / "model", shard_gb=0.0001))

    written = model_weights(tmp_path / "model")
    assert set(written) == set(trained)
    assert all(torch.equal(written[name], trained[name]) for name in trained)
    assert (tmp_path / "model/LICENSE").read_text() == "free"
    assert (tmp_path / "model/model.safetensors.index.json").is_file()
    assert torch.isfinite(_logits(tmp_path / "model")).all()


def test_a_head_that_only_repeats_the_embedding_and_rotation_speeds_are_left_out(tmp_path: Path) -> None:
    base = tiny_folder("qwen2", tmp_path / "base")
    trained = model_weights(base)
    assert "lm_head.weight" not in trained
    extra = {
        "lm_head.weight": trained["model.embed_tokens.weight"].clone(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
    }
    pth = write_pth(tmp_path / "iter_9.pth", prefixed("llm.", trained | extra))
    convert_pth(PthRequest(pth, tmp_path / "model", language_model=str(base)))
    assert set(model_weights(tmp_path / "model")) == set(trained)


def test_a_model_that_is_not_the_bases_is_refused(tmp_path: Path) -> None:
    base = tiny_folder("llama", tmp_path / "base")
    trained = model_weights(base)
    other = dict(trained) | {"model.norm.weight": torch.ones(7)}
    more = dict(trained) | {"model.more.weight": torch.ones(7)}
    less = {name: tensor for name, tensor in trained.items() if name != "model.norm.weight"}
    expected = ((other, r"model\.norm\.weight is \(7,\)"), (more, "has not"), (less, r"lacks the weight model\.norm"))
    for index, (weights, message) in enumerate(expected):
        pth = write_pth(tmp_path / f"{index}.pth", prefixed("llm.", weights))
        with pytest.raises(ModelError, match=message):
            convert_pth(PthRequest(pth, tmp_path / "model", language_model=str(base)))
    assert not (tmp_path / "model").exists()


def test_an_adapter_for_another_model_is_found_out_where_the_base_is_at_hand(tmp_path: Path) -> None:
    llama, qwen = tiny_folder("llama", tmp_path / "llama"), tiny_folder("internlm2", tmp_path / "internlm2")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("llm.", random_lora(qwen)))
    with pytest.raises(ModelError, match=r"iter_\d+\.pth was not trained on .* does not fit"):
        convert_pth(PthRequest(pth, tmp_path / "out", language_model=str(llama), lora_alpha=6))
    assert not (tmp_path / "out").exists()


def test_a_full_folder_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        convert_pth(PthRequest(tmp_path / "iter_1.pth", tmp_path / "mine"))
