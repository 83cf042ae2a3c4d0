"""Reading, matching and changing recipes."""

from __future__ import annotations

import pytest

from tunesmith.recipes.recipe import Recipe, load_recipes, matches, with_values

TEXT = """# Says hello
#   tunesmith train hello.yaml
model_name_or_path: a/b                  # which model
learning_rate: 1.0e-4                    # how fast
"""


def test_its_head_says_what_it_does_and_who_runs_it() -> None:
    recipe = Recipe("hello", TEXT)
    assert (recipe.summary, recipe.verb) == ("Says hello", "train")


def test_recipes_are_sorted_by_name() -> None:
    assert list(load_recipes()) == sorted(load_recipes())
    assert load_recipes()["merge"].verb == "export"


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("qwen", "qwen2_5_vl_lora", True),
        ("Qwen2.5-VL", "qwen2_5_vl_lora", True),
        ("vl full", "qwen2_5_vl_full", True),
        ("*_full", "qwen2_5_vl_full", True),
        ("*_full", "text_full_identity", False),
        ("qwen?_lora", "qwen3_lora", True),
        ("", "anything", True),
        ("llama", "qwen3_lora", False),
    ],
)
def test_a_pattern_is_a_part_or_has_wildcards(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_a_value_changes_and_the_comment_stays() -> None:
    changed = with_values(TEXT, {"learning_rate": "2.0e-5"})
    assert changed == TEXT.replace("1.0e-4", "2.0e-5")


def test_a_long_value_moves_the_comment() -> None:
    name = "organisation/a-model-with-quite-a-long-name"
    assert f"model_name_or_path: {name} # which model\n" in with_values(TEXT, {"model_name_or_path": name})


def test_a_line_goes_and_a_new_key_comes_last() -> None:
    changed = with_values(TEXT, {"learning_rate": None, "template": "default", "packing": None})
    assert changed.splitlines()[2:] == [TEXT.splitlines()[2], "template: default"]
