"""What every recipe keeps to: short, a comment on every line, settings that exist and fit together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import REPOSITORY
from tunesmith.config.read import load_settings
from tunesmith.recipes.recipe import Recipe, load_recipes

RECIPES = list(load_recipes().values())
MOST_LINES = 25
_LINE = re.compile(r"[a-z0-9_]+: \S.* # [A-Za-z0-9].*[^.]")

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.name for recipe in RECIPES])


@each_recipe
def test_it_is_short_and_every_line_is_explained(recipe: Recipe) -> None:
    title, command, *lines = recipe.text.splitlines()
    assert len(lines) + 2 <= MOST_LINES
    assert title.startswith("# ")
    assert command == f"#   tunesmith {recipe.verb} {recipe.name}.yaml"
    assert [line for line in lines if not _LINE.fullmatch(line)] == []
    assert [line for line in recipe.text.splitlines() if len(line) > 120] == []


@each_recipe
def test_it_loads_for_its_verb(recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / f"{recipe.name}.yaml"
    file.write_text(recipe.text, encoding="utf-8")
    settings = load_settings(file, verb="export" if recipe.verb == "export" else "train")
    assert settings.model.model_name_or_path
    assert caplog.messages == []


def test_docs_recipes_md_lists_them_all() -> None:
    document = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", document, re.MULTILINE)
    assert sorted(rows) == [(recipe.name, recipe.summary) for recipe in RECIPES]
