"""What README and the other documents say can be done: commands exist, links lead somewhere."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import pytest

from tests.house.tree import REPOSITORY, repository_files
from tunesmith.cli.arguments import split_arguments
from tunesmith.cli.main import VERBS
from tunesmith.config.known import load_known_keys
from tunesmith.config.overrides import parse_overrides

DOCUMENTS = sorted(path for path in repository_files() if path.suffix == ".md")
_FENCE = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def _commands(program: str) -> list[tuple[str, list[str]]]:
    """`document: command` and its words, for every command of `program` in a shell block."""
    found = []
    for document in DOCUMENTS:
        for block in _FENCE.findall(document.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
                if words[:1] == [program]:
                    found.append((f"{document.name}: {line}", words[1:]))
    return found


@pytest.mark.parametrize(("name", "words"), _commands("tunesmith"))
def test_a_tunesmith_command_exists(name: str, words: list[str]) -> None:
    verb, rest = words[0], words[1:]
    assert verb in {*VERBS, "--help"}, name
    if verb not in VERBS or verb == "version":
        return
    explanation = importlib.import_module(f"tunesmith.cli.{verb}").HELP
    rest = rest[1:] if verb == "data" and rest[:1] in (["preview"], ["check"], ["cache"]) else rest
    if verb in {"recipes", "convert", "runs"}:  # their words are names and folders, not settings
        assert " ".join(["tunesmith", verb, *rest[:1]]) in explanation, name
        return
    if verb == "convert":  # files come before its options
        assert f"tunesmith convert {rest[0]}" in explanation, name
        rest = [*dropwhile(lambda word: not word.startswith("--"), rest)]
    for given in parse_overrides(split_arguments(rest).overrides):
        is_option = f"--{given.key.replace('_', '-')}" in explanation
        assert is_option or given.key in load_known_keys().names(), f"{name}: {given.key}"


@pytest.mark.parametrize(("name", "words"), _commands("make"))
def test_a_make_target_exists(name: str, words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), name


def _links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for target in _LINK.findall(document.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                yield document, target


@pytest.mark.parametrize(("document", "target"), _links(), ids=lambda value: Path(value).name)
def test_a_link_leads_somewhere(document: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    goal = (document.parent / name).resolve() if name else document
    assert goal.exists()
    if anchor and goal.suffix == ".md":
        headings = _HEADING.findall(goal.read_text(encoding="utf-8"))
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_is_a_readme_and_what_it_points_to() -> None:
    names = {path.relative_to(REPOSITORY).as_posix() for path in DOCUMENTS}
    assert names >= {"README.md", "CONTRIBUTING.md", "docs/structure.md"}


_MODULE = re.compile(r"`((?:[a-z_]+/)+(?:[a-z_]+\.[a-z]+)?)`")
_NOT_OURS = ("finetune/", "runs/", "saves/", "checkpoints/", "logs/")


def test_a_module_that_structure_md_names_exists() -> None:
    document = REPOSITORY / "docs" / "structure.md"
    named = [name for name in _MODULE.findall(document.read_text(encoding="utf-8")) if not name.startswith(_NOT_OURS)]
    roots = (REPOSITORY, REPOSITORY / "src" / "tunesmith")
    assert len(named) > 20
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
