"""A recipe: a short settings file with a comment on every line. Knows no key by name."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

_FOLDER = resources.files("tunesmith.recipes") / "files"
_SEPARATORS = re.compile(r"[-.\s]")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One settings file as it is shipped."""

    name: str
    text: str

    @property
    def summary(self) -> str:
        """What it does, in one line: its first comment."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def verb(self) -> str:
        """The verb of `tunesmith` that runs it, as its second comment says."""
        return self.text.splitlines()[1].split()[2]


@lru_cache(maxsize=1)
def load_recipes() -> Mapping[str, Recipe]:
    """Every recipe by its name, sorted."""
    files = sorted((file for file in _FOLDER.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    names = [file.name.removesuffix(".yaml") for file in files]
    return {name: Recipe(name, file.read_text(encoding="utf-8")) for name, file in zip(names, files, strict=True)}


def matches(pattern: str, name: str, summary: str = "") -> bool:
    """Whether `pattern` is a part of one of the two; with wildcards (* ? [) it must fit all of the name.

    Case does not matter, nor whether words are joined by `-`, `.`, a space or `_`.
    """
    wanted = _flatten(pattern)
    if any(sign in wanted for sign in "*?["):
        return fnmatch.fnmatchcase(_flatten(name), wanted)
    return wanted in _flatten(name) or wanted in _flatten(summary)


def with_values(text: str, changes: Mapping[str, str | None]) -> str:
    """The settings file `text` with other values: comments stay, None takes a line out, a new key goes to the end."""
    left = dict(changes)
    lines = []
    for line in text.splitlines():
        key = line.partition(":")[0]
        if key not in left:
            lines.append(line)
        elif (value := left.pop(key)) is not None:
            _, mark, comment = line.partition(" #")
            lines.append(f"{f'{key}: {value}':<40}{mark}{comment}".rstrip())
    lines += [f"{key}: {value}" for key, value in left.items() if value is not None]
    return "\n".join(lines) + "\n"


def _flatten(text: str) -> str:
    return _SEPARATORS.sub("_", text.lower())
