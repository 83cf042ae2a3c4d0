"""XTuner's config names: the words of a name, and every name there is (`xtuner_names.txt`, 0.1.0 to 0.2.0)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.errors import NotSupportedYetError
from tunesmith.recipes.recipe import load_recipes
from tunesmith.recipes.xtuner import find_models, read_name

_LINES = (Path(__file__).parent / "xtuner_names.txt").read_text(encoding="utf-8").splitlines()
EXPECTED = dict(line.split(maxsplit=1) for line in _LINES)
"""Name -> recipe, or the end of the reason why there is none."""
_REASONS = ("no class in transformers", "not there yet", "not read")


def _outcome(name: str) -> str:
    """The recipe of a name, or which of the reasons it is refused for."""
    try:
        reading = read_name(name)
    except NotSupportedYetError as error:
        return next(reason for reason in _REASONS if reason in str(error))
    return reading.recipe if reading else "unknown"


def test_a_journey_s_name_is_its_recipe_unchanged() -> None:
    reading = read_name("internlm2_1_8b_qlora_alpaca_e3")
    assert reading is not None
    assert (reading.recipe, reading.changes, reading.notes) == ("internlm2_1_8b_qlora_alpaca", {}, [])


def test_model_method_dataset_and_epochs_are_read_from_a_name() -> None:
    reading = read_name("qwen1_5_7b_chat_full_alpaca_e3")
    assert reading is not None
    assert reading.recipe == "text_full"
    assert reading.changes == {
        "model_name_or_path": "Qwen/Qwen1.5-7B-Chat",
        "dataset": "tatsu-lab/alpaca",
        "dataset_dir": "ONLINE",
        "num_train_epochs": "3",
        "output_dir": "saves/qwen1_5_7b_chat_full_alpaca_e3",
    }


@pytest.mark.parametrize(
    ("name", "recipe", "changes"),
    [
        ("internlm2_7b_qlora_oasst1_512_e3", "text_qlora", {"template": "default", "cutoff_len": "512"}),
        ("llama2_7b_full_alpaca_enzh_32k_sp1", "text_full", {"cutoff_len": "32768"}),
        ("llama2_7b_full_alpaca_enzh_1M_sp16", "text_full", {"cutoff_len": "1048576"}),
        ("llama2_70b_int8_lora_open_platypus_e1", "text_lora", {"quantization_bit": "8"}),
        ("minicpm_2b_lora_alpaca_zh_e3", "text_lora", {"dataset": "llamafactory/alpaca_gpt4_zh"}),
        ("internlm2_5_chat_20b_alpaca_e3", "text_full", {"model_name_or_path": "internlm/internlm2_5-20b-chat"}),
        ("llama3_70b_instruct_qlora_alpaca_e3_2k_gpu8", "text_qlora", {"cutoff_len": "2048"}),
    ],
)
def test_words_of_a_name(name: str, recipe: str, changes: dict[str, str]) -> None:
    reading = read_name(name)
    assert reading is not None
    assert reading.recipe == recipe
    assert reading.changes.items() >= changes.items()


@pytest.mark.parametrize(
    ("name", "recipe", "changes"),
    [
        ("internlm2_chat_1_8b_dpo_full", "text_dpo", {"finetuning_type": "full", "learning_rate": "5.0e-7"}),
        ("internlm2_chat_7b_orpo_qlora_varlenattn_ultrafeedback_e5", "text_orpo", {"quantization_bit": "4"}),
        ("llama2_7b_full_custom_pretrain_e1", "text_pretrain", {"num_train_epochs": "1"}),
        ("mistral_7b_qlora_skypile_pretrain_e1", "text_pretrain", {"finetuning_type": "lora", "quantization_bit": "4"}),
    ],
)
def test_names_of_other_stages(name: str, recipe: str, changes: dict[str, str]) -> None:
    reading = read_name(name)
    assert reading is not None
    assert reading.recipe == recipe
    assert reading.changes.items() >= changes.items()
    assert "template" not in reading.changes


def test_rows_that_cannot_be_read_as_they_are_keep_the_recipe_s_file() -> None:
    reading = read_name("internlm2_7b_qlora_colorist_e5")
    assert reading is not None
    assert "dataset" not in reading.changes
    assert reading.notes[0].startswith("colorist: burkelibbey/colors has the columns description and color; write")


def test_llava_stage_1_says_how_its_model_is_composed() -> None:
    reading = read_name("llava_llama3_8b_instruct_clip_vit_large_p14_336_e1_gpu8_pretrain")
    assert reading is not None
    assert reading.recipe == "llava_pretrain"
    assert "--language_model meta-llama/Meta-Llama-3-8B-Instruct" in reading.notes[0]
    assert reading.changes["model_name_or_path"] in reading.notes[0]


def test_llava_stage_2_starts_where_stage_1_ended() -> None:
    stage_1 = read_name("llava_vicuna_7b_v15_clip_vit_large_p14_336_e1_gpu8_pretrain")
    stage_2 = read_name("llava_vicuna_7b_v15_qlora_clip_vit_large_p14_336_lora_e1_gpu8_finetune")
    assert stage_1 is not None
    assert stage_2 is not None
    assert stage_2.changes["model_name_or_path"] == stage_1.changes["output_dir"]
    assert "finetuning_type" not in stage_2.changes


def test_llava_with_a_language_model_in_full_has_no_adapter() -> None:
    reading = read_name("llava_llama3_8b_instruct_full_clip_vit_large_p14_336_e1_gpu8_finetune")
    assert reading is not None
    assert reading.changes["finetuning_type"] == "full"
    assert reading.changes["quantization_bit"] is None
    assert reading.changes["freeze_vision_tower"] == "true"


def test_a_word_that_is_none_of_xtuner_s_is_not_read() -> None:
    assert read_name("my_own_config") is None


def test_a_model_without_a_class_is_refused_with_one_that_has() -> None:
    with pytest.raises(NotSupportedYetError, match="take InternLM2: the same name with internlm2_"):
        read_name("internlm_chat_7b_qlora_alpaca_e3")


def test_every_name_of_xtuner_s_finds_its_recipe_or_is_refused_for_a_reason() -> None:
    assert {name: _outcome(name) for name in EXPECTED} == EXPECTED


def test_a_line_that_goes_is_one_that_the_recipe_has() -> None:
    for name, outcome in EXPECTED.items():
        if outcome in load_recipes():
            reading = read_name(name)
            assert reading is not None
            gone = [key for key, value in reading.changes.items() if value is None]
            assert all(f"\n{key}:" in load_recipes()[outcome].text for key in gone), name


def test_models_are_found_by_a_part_of_their_name() -> None:
    assert find_models("yi_34b") == ["yi_34b", "yi_34b_200k"]
    assert find_models("nothing of this kind") == []
