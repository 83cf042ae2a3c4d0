"""A name and the recipe it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.test_xtuner import EXPECTED
from tunesmith.config.read import load_settings
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.recipes.find import find_recipe, list_recipes
from tunesmith.recipes.recipe import load_recipes


@pytest.mark.parametrize("name", ["qwen3_lora", "qwen3_lora.yaml"])
def test_a_recipe_s_own_name(name: str) -> None:
    found = find_recipe(name)
    assert (found.name, found.text, found.notes) == ("qwen3_lora", load_recipes()["qwen3_lora"].text, ())


def test_xtuner_s_name_says_which_recipe_it_is_and_what_changed() -> None:
    found = find_recipe("gemma_7b_it_qlora_custom_sft_e1.py")
    assert found.notes == (
        "gemma_7b_it_qlora_custom_sft_e1 is recipe text_qlora with model_name_or_path: google/gemma-7b-it, "
        "num_train_epochs: 1, output_dir: saves/gemma_7b_it_qlora_custom_sft_e1",
    )
    assert "\nmodel_name_or_path: google/gemma-7b-it " in found.text


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("qwen3_lroa", "did you mean qwen3_lora or "),
        ("llava_onevison_lora", "did you mean llava_onevision_lora"),
        ("xyzzy", "`tunesmith recipes list` shows all there are"),
    ],
)
def test_an_unknown_name_finds_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(UsageError, match=f"there is no recipe {name}; ") as raised:
        find_recipe(name)
    assert advice in str(raised.value)


def test_the_copied_file_names_itself() -> None:
    text = find_recipe("llama2_7b_qlora_alpaca_e3").text_in(Path("runs/mine.yaml"))
    assert text.splitlines()[1] == "#   tunesmith train runs/mine.yaml"


def test_a_list_by_name_or_by_what_the_recipe_does() -> None:
    assert [recipe.name for recipe in list_recipes("InternLM2-1.8B")] == [
        "internlm2_1_8b_qlora_alpaca",
        "internlm2_1_8b_qlora_identity",
    ]
    assert "minicpmv_lora" in {recipe.name for recipe in list_recipes("4.5")}
    assert len(list_recipes()) == len(load_recipes())


def test_whatever_xtuner_s_names_become_loads(tmp_path: Path) -> None:
    texts = set()
    for name in EXPECTED:
        try:
            texts.add(find_recipe(name).text)
        except NotSupportedYetError:
            continue
    assert len(texts) > 200
    for text in texts:
        file = tmp_path / "run.yaml"
        file.write_text(text, encoding="utf-8")
        assert load_settings(file, verb="train").training.output_dir
