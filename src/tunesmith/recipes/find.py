"""Which recipe a name means: a recipe's own name, or one of XTuner's."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UsageError
from tunesmith.recipes.recipe import Recipe, load_recipes, matches, with_values
from tunesmith.recipes.xtuner import read_name


@dataclass(frozen=True, slots=True)
class Found:
    """The recipe for a name.

    name:  as it was given
    text:  the settings file, changed as the name says
    notes: which recipe it is and what was changed, where the name is not the recipe's own
    """

    name: str
    recipe: Recipe
    text: str
    notes: tuple[str, ...] = ()

    def text_in(self, file: Path) -> str:
        """The text with the command in its head naming `file`."""
        return self.text.replace(f" {self.recipe.name}.yaml\n", f" {file}\n", 1)


def find_recipe(name: str) -> Found:
    """The recipe called `name`, by its own name or one of XTuner's.

    Raises UsageError for an unknown name, with the nearest ones; NotSupportedYetError for a name of XTuner's whose work
    is not there.
    """
    name = name.removesuffix(".yaml").removesuffix(".py")
    recipes = load_recipes()
    if name in recipes:
        return Found(name, recipes[name], recipes[name].text)
    reading = read_name(name)
    if reading is None:
        raise UsageError(_unknown(name))
    recipe = recipes[reading.recipe]
    changes = ", ".join(f"{key}: {value}" if value else f"without {key}" for key, value in reading.changes.items())
    said = f"{name} is recipe {recipe.name}" + (f" with {changes}" if changes else "")
    return Found(name, recipe, with_values(recipe.text, reading.changes), (said, *reading.notes))


def list_recipes(pattern: str = "") -> list[Recipe]:
    """The recipes whose name or summary fits `pattern`: a part of it, or wildcards."""
    return [recipe for recipe in load_recipes().values() if matches(pattern, recipe.name, recipe.summary)]


def _unknown(name: str) -> str:
    recipes = load_recipes()
    near = difflib.get_close_matches(name, recipes, n=3) or [found.name for found in list_recipes(name)]
    guess = f"did you mean {' or '.join(near)}?" if near else "`tunesmith recipes list` shows all there are"
    return f"there is no recipe {name}; {guess}"
