from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tests.tiny import tiny_folder
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.load import load_model
from tunesmith.models.quantization import is_packed
from tunesmith.models.saving import save_adapter
from tunesmith.models.tuning.apply import apply_tuning, attach_adapters


def train(folder: Path, out: Path | None = None, *, seed: int = 0, steps: int = 2, **settings: Any) -> PeftModel:
    """A LoRA model after a few steps, its adapter saved in `out`."""
    torch.manual_seed(seed)
    given = settings_for(folder, **settings)
    model = apply_tuning(load_model(given, trains=True), given)
    assert isinstance(model, PeftModel)
    for _ in range(steps):
        train_a_step(model, batch_for(folder), learning_rate=0.5)
    if out is not None:
        save_adapter(model, out)
    return model


def answering(folder: Path, *adapters: Path) -> torch.nn.Module:
    """The model with stored adapters on it."""
    settings = settings_for(folder, adapter_name_or_path=[str(adapter) for adapter in adapters])
    return attach_adapters(load_model(settings, trains=False), settings)


def test_a_new_adapter_changes_nothing_until_it_has_trained(qwen2_folder: Path) -> None:
    batch = batch_for(qwen2_folder)
    base = logits_of(load_model(settings_for(qwen2_folder), trains=False), batch)

    assert torch.equal(logits_of(train(qwen2_folder, steps=0), batch), base)
    assert not torch.equal(logits_of(train(qwen2_folder, steps=2), batch), base)


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        ({}, {"r": 8, "lora_alpha": 16, "use_rslora": False, "use_dora": False, "bias": "none", "lora_dropout": 0.0}),
        ({"lora_rank": 4}, {"r": 4, "lora_alpha": 8}),
        ({"lora_rank": 4, "lora_alpha": 32}, {"lora_alpha": 32}),
        ({"use_rslora": True, "lora_dropout": 0.1}, {"use_rslora": True, "lora_dropout": 0.1}),
        ({"use_dora": True, "lora_bias": "lora_only"}, {"use_dora": True, "bias": "lora_only"}),
    ],
)
def test_the_settings_reach_peft(qwen2_folder: Path, tuning: dict[str, Any], expected: dict[str, Any]) -> None:
    stored = train(qwen2_folder, steps=0, tuning=tuning).peft_config["default"].to_dict()

    assert {key: stored[key] for key in expected} == expected


def test_the_scale_of_rslora_is_alpha_over_the_root_of_the_rank(qwen2_folder: Path) -> None:
    model = train(qwen2_folder, steps=0, tuning={"use_rslora": True, "lora_rank": 4, "lora_alpha": 6})

    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 6 / 4**0.5


@pytest.mark.parametrize("tuning", [{}, {"use_dora": True}, {"lora_target": "embed_tokens,q_proj"}], ids=str)
def test_saved_and_attached_it_answers_bit_for_bit_the_same(
    qwen2_folder: Path, tmp_path: Path, tuning: dict[str, Any]
) -> None:
    trained = train(qwen2_folder, tmp_path, tuning=tuning)

    assert torch.equal(
        logits_of(answering(qwen2_folder, tmp_path), batch_for(qwen2_folder)),
        logits_of(trained, batch_for(qwen2_folder)),
    )


def test_the_files_are_pefts_and_name_the_base(qwen2_folder: Path, tmp_path: Path) -> None:
    train(qwen2_folder, tmp_path, steps=0)

    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(qwen2_folder.resolve())
    assert config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM"
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 60_000


def test_going_on_with_an_adapter_trains_it_further(qwen2_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(qwen2_folder)
    before = train(qwen2_folder, tmp_path)

    again = train(qwen2_folder, steps=0, adapter_name_or_path=[str(tmp_path)])

    assert torch.equal(logits_of(again, batch), logits_of(before, batch))
    trained = {name for name, parameter in again.named_parameters() if parameter.requires_grad}
    assert len(trained) == 28 and all(".lora_" in name for name in trained)
    assert train_a_step(again.train(), batch) == train_a_step(before.train(), batch)


def test_all_but_the_last_are_merged(qwen2_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(qwen2_folder)
    train(qwen2_folder, tmp_path / "first", seed=1)
    second = train(
        qwen2_folder,
        tmp_path / "second",
        seed=2,
        adapter_name_or_path=[str(tmp_path / "first")],
        tuning={"create_new_adapter": True},
    )

    both = answering(qwen2_folder, tmp_path / "first", tmp_path / "second")

    assert isinstance(both, PeftModel)
    assert torch.allclose(logits_of(both, batch), logits_of(second, batch), atol=1e-6)
    assert not torch.allclose(
        logits_of(both, batch), logits_of(answering(qwen2_folder, tmp_path / "second"), batch), atol=1e-3
    )


def test_a_new_adapter_on_merged_ones_says_how_to_use_it(
    qwen2_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(qwen2_folder, tmp_path)

    with caplog.at_level(logging.INFO, logger="tunesmith"):
        train(qwen2_folder, steps=0, adapter_name_or_path=[str(tmp_path)], tuning={"create_new_adapter": True})

    assert f"give them all as adapter_name_or_path ({tmp_path}, then the new one)" in caplog.text


def test_an_adapter_folder_and_names_in_it(qwen2_folder: Path, tmp_path: Path) -> None:
    train(qwen2_folder, tmp_path / "adapters" / "one")

    model = train(qwen2_folder, steps=0, adapter_folder=str(tmp_path / "adapters"), adapter_name_or_path=["one"])

    assert isinstance(model, PeftModel)


def test_a_run_whose_adapter_lies_in_a_checkpoint_points_there(qwen2_folder: Path, tmp_path: Path) -> None:
    train(qwen2_folder, tmp_path / "run" / "checkpoint-20")

    with pytest.raises(ModelError, match=r"has no adapter_config\.json; did you mean .*checkpoint-20"):
        answering(qwen2_folder, tmp_path / "run")
    answering(qwen2_folder, tmp_path / "run" / "checkpoint-20")


def test_an_adapter_of_another_model_is_refused(qwen2_folder: Path, qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    train(tiny_folder("gpt2", tmp_path / "gpt2"), tmp_path / "of_gpt2")
    wide = shutil.copytree(qwen2_folder, tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    train(wide, tmp_path / "of_wide", train_from_scratch=True)

    for adapter in ("of_gpt2", "of_wide"):
        with pytest.raises(ModelError, match="does not fit the model"):
            answering(qwen2_folder, tmp_path / adapter)
    with pytest.raises(ModelError, match="does not fit the model"):
        answering(qwen2_5_vl_folder, tmp_path / "of_gpt2")


def test_damaged_adapter_files(qwen2_folder: Path, tmp_path: Path) -> None:
    train(qwen2_folder, tmp_path)
    file = tmp_path / "adapter_model.safetensors"

    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is incomplete"):
        answering(qwen2_folder, tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"but no adapter_model\.safetensors"):
        answering(qwen2_folder, tmp_path)


def test_modules_that_train_in_full_are_saved_with_the_adapter(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(qwen2_5_vl_folder)
    trained = train(qwen2_5_vl_folder, tmp_path, tuning={"additional_target": "embed_tokens,lm_head"})

    weights = answering(qwen2_5_vl_folder, tmp_path)

    base = load_model(settings_for(qwen2_5_vl_folder), trains=False)
    assert torch.equal(logits_of(weights, batch), logits_of(trained, batch))
    head = trained.get_base_model().lm_head.weight
    assert head.requires_grad and not torch.equal(head, base.lm_head.weight)


def test_a_tied_head_stays_tied_when_the_embedding_trains(qwen2_folder: Path, tmp_path: Path) -> None:
    trained = train(qwen2_folder, tmp_path, tuning={"additional_target": "embed_tokens"})

    inner = trained.get_base_model()
    assert inner.get_input_embeddings().weight is inner.get_output_embeddings().weight
    again = answering(qwen2_folder, tmp_path)
    assert torch.equal(logits_of(again, batch_for(qwen2_folder)), logits_of(trained, batch_for(qwen2_folder)))


def test_grown_embeddings_train_beside_the_adapter(qwen2_5_vl_folder: Path) -> None:
    many = [f"<extra_{number}>" for number in range(40)]

    model = train(qwen2_5_vl_folder, steps=0, add_tokens=many, resize_vocab=True)

    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad and "lora" not in name}
    assert {name.split(".modules_to_save")[0].rpartition(".")[2] for name in trained} == {"embed_tokens", "lm_head"}


def test_adapters_and_tuning_that_cannot_start_from_them(qwen2_folder: Path, tmp_path: Path) -> None:
    train(qwen2_folder, tmp_path)

    with pytest.raises(UsageError, match="cannot start from adapter_name_or_path"):
        train(qwen2_folder, adapter_name_or_path=[str(tmp_path)], tuning={"finetuning_type": "full"})


def test_an_additional_target_that_is_not_there(qwen2_folder: Path) -> None:
    with pytest.raises(UsageError, match="additional_target: there is no module score; there are"):
        train(qwen2_folder, tuning={"additional_target": "score"})


@pytest.fixture(scope="module")
def llava_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA: two layers of language model, two of CLIP, a projector of two linear layers."""
    return tiny_folder("llava", tmp_path_factory.mktemp("llava"))


EACH_ITS_OWN = {
    "lora_rank": 6,
    "lora_alpha": 3,
    "vision_lora_rank": 2,
    "vision_lora_alpha": 5,
    "freeze_vision_tower": False,
    "freeze_multi_modal_projector": False,
}


def test_the_vision_tower_may_have_a_rank_and_an_alpha_of_its_own(llava_folder: Path) -> None:
    model = train(llava_folder, steps=0, tuning=EACH_ITS_OWN).get_base_model().model

    seeing = model.vision_tower.encoder.layers[1].self_attn.q_proj
    speaking = model.language_model.layers[1].self_attn.q_proj
    assert (seeing.r["default"], seeing.scaling["default"]) == (2, 5 / 2)
    assert (speaking.r["default"], speaking.scaling["default"]) == (6, 3 / 6)


@pytest.mark.parametrize(
    ("tuning", "rank", "alpha"),
    [
        ({"vision_lora_rank": 2}, 2, 4),
        ({"vision_lora_alpha": 9}, 6, 9),
        ({"vision_lora_rank": 2, "use_rslora": True}, 2, 4),
        ({}, 6, 3),
    ],
)
def test_what_is_not_said_of_the_tower_follows(
    llava_folder: Path, tuning: dict[str, Any], rank: int, alpha: int
) -> None:
    given = {"lora_rank": 6, "lora_alpha": 3, "freeze_vision_tower": False, **tuning}
    layer = train(llava_folder, steps=0, tuning=given).get_base_model().model.vision_tower.encoder.layers[0].mlp.fc1

    assert (layer.r["default"], layer.lora_alpha["default"]) == (rank, alpha)
    assert layer.scaling["default"] == alpha / (rank**0.5 if "use_rslora" in tuning else rank)


def test_a_rank_for_a_tower_that_gets_no_adapters_is_a_mistake(llava_folder: Path) -> None:
    with pytest.raises(UsageError, match="vision_lora_rank and vision_lora_alpha: no layer of a vision tower"):
        train(llava_folder, tuning={"vision_lora_rank": 2})
    with pytest.raises(UsageError, match=r"vision_lora_alpha: 2\.5 is not a whole number"):
        train(llava_folder, tuning={**EACH_ITS_OWN, "vision_lora_alpha": 2.5})


def test_an_open_projector_trains_in_full_beside_adapters(llava_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        model = train(llava_folder, steps=0, tuning=EACH_ITS_OWN)

    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    in_full = {name.partition("modules_to_save.default.")[2] for name in trained if ".lora_" not in name}
    assert in_full == {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}
    assert not any("multi_modal_projector" in name and ".lora_" in name for name in trained)
    assert "the projector (model.multi_modal_projector) trains in full beside the adapter" in caplog.text


def test_parts_with_ranks_of_their_own_are_saved_attached_and_taken_further(llava_folder: Path, tmp_path: Path) -> None:
    batch = batch_for(llava_folder, with_image=True)
    torch.manual_seed(0)
    given = settings_for(llava_folder, tuning=EACH_ITS_OWN)
    trained = apply_tuning(load_model(given, trains=True), given)
    assert isinstance(trained, PeftModel)
    for _ in range(2):
        train_a_step(trained, batch, learning_rate=0.5)
    save_adapter(trained, tmp_path)

    again = train(llava_folder, steps=0, adapter_name_or_path=[str(tmp_path)])

    assert torch.equal(logits_of(answering(llava_folder, tmp_path), batch), logits_of(trained, batch))
    assert train_a_step(again.train(), batch) == train_a_step(trained.train(), batch)


@pytest.mark.parametrize("bits", [4, 8])
def test_what_trains_in_full_is_not_packed(llava_folder: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    batch = batch_for(llava_folder, with_image=True)
    given = settings_for(llava_folder, quantization_bit=bits, tuning=EACH_ITS_OWN)
    model = apply_tuning(load_model(given, trains=True), given)

    packed = {name for name, parameter in model.named_parameters() if is_packed(parameter)}
    assert len(packed) == 26
    assert not any("multi_modal_projector" in name or "lm_head" in name for name in packed)
    losses = [train_a_step(model, batch, learning_rate=0.1) for _ in range(3)]
    assert losses[2] < losses[0]
