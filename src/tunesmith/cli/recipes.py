"""`tunesmith recipes`: settings files to start from, shown and copied. XTuner's list-cfg and copy-cfg lead here too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith import log
from tunesmith.errors import UsageError

HELP = """tunesmith recipes list [PATTERN]
tunesmith recipes show NAME
tunesmith recipes copy NAME [FILE] [--force]

Settings files to start from: short, every line explained, one for every journey and family.

list   the names and what they do; PATTERN is a part of a name (qwen, 4.5, video) or has wildcards (*_full)
show   the file
copy   the file to FILE (NAME.yaml in this folder if left out) and the command that runs it; --force overwrites

XTuner's config names are understood, and so are `tunesmith list-cfg -p PATTERN` and `tunesmith copy-cfg NAME FOLDER`.

  tunesmith recipes list internlm2
  tunesmith recipes copy internlm2_1_8b_qlora_identity run.yaml
"""
_HELP_WORDS = {"--help", "-h", "help"}


def run(argv: Sequence[str]) -> int:
    """List, show or copy recipes."""
    if not argv or _HELP_WORDS & set(argv):
        print(HELP, end="")
        return 0
    log.set_up()
    word, *rest = argv
    if word not in _WORDS:
        raise UsageError(f"unknown word {word!r} after `tunesmith recipes`; write list, show or copy")
    _WORDS[word](rest)
    return 0


def _list(words: Sequence[str]) -> None:
    from tunesmith.recipes.find import list_recipes

    (pattern,) = _take(words, "recipes list [PATTERN]", least=0, most=1) or ("",)
    found = list_recipes(pattern)
    if not found and not _say_models(pattern):
        raise UsageError(f"no recipe fits {pattern}; `tunesmith recipes list` shows all there are")
    width = max((len(recipe.name) for recipe in found), default=0)
    for recipe in found:
        print(f"{recipe.name:<{width}}  {recipe.summary}")


def _say_models(pattern: str) -> bool:
    """Say which models of XTuner's names fit, and whether any does."""
    from tunesmith.recipes.xtuner import find_models

    models = find_models(pattern)
    if models:
        log.info(
            f"no recipe is called that, but XTuner's names with {', '.join(models)} are understood: "
            f"tunesmith recipes show {models[0]}_qlora_alpaca_e3"
        )
    return bool(models)


def _show(words: Sequence[str]) -> None:
    from tunesmith.recipes.find import find_recipe

    (name,) = _take(words, "recipes show NAME")
    found = find_recipe(name)
    for note in found.notes:
        log.note_once(note)
    print(found.text, end="")


def _copy(words: Sequence[str]) -> None:
    force = "--force" in words
    name, *target = _take([word for word in words if word != "--force"], "recipes copy NAME [FILE]", most=2)
    _write(name, Path(target[0]) if target else None, force=force)


def _list_cfg(words: Sequence[str]) -> None:
    """XTuner's `list-cfg [-p PATTERN]`."""
    _list([word.removeprefix("--pattern=") for word in words if word not in {"-p", "--pattern"}])


def _copy_cfg(words: Sequence[str]) -> None:
    """XTuner's `copy-cfg NAME FOLDER`: writes FOLDER/NAME_copy.yaml."""
    force = "--force" in words
    name, folder = _take([word for word in words if word != "--force"], "copy-cfg NAME FOLDER", least=2, most=2)
    _write(name, Path(folder) / f"{name.removesuffix('.py')}_copy.yaml", force=force)


def _write(name: str, target: Path | None, *, force: bool) -> None:
    from tunesmith.recipes.find import find_recipe

    found = find_recipe(name)
    target = target or Path(f"{found.name}.yaml")
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file, like {target / f'{found.name}.yaml'}")
    if target.exists() and not force:
        raise UsageError(f"{target} exists; choose another file, or add --force to overwrite it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(found.text_in(target), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    for note in found.notes:
        log.note_once(note)
    print(f"tunesmith {found.recipe.verb} {target}")


def _take(words: Sequence[str], usage: str, *, least: int = 1, most: int = 1) -> Sequence[str]:
    """`words`, as many as the usage has. Raises UsageError for any other number, or for an option."""
    if not least <= len(words) <= most or any(word.startswith("-") for word in words):
        raise UsageError(f"command line: {' '.join(words) or 'nothing'} is not understood; write `tunesmith {usage}`")
    return words


_WORDS = {"list": _list, "show": _show, "copy": _copy, "list-cfg": _list_cfg, "copy-cfg": _copy_cfg}
