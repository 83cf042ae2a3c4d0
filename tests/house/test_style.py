"""What docs and reviews would otherwise have to repeat: sizes, names, docstrings, nothing unfinished."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import MODULES, REPOSITORY, SOURCE, parse, text_files

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
_UNFINISHED = re.compile("|".join([r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", "NotImplemented" + "Error", "for" + " now"]))
_MACHINE = re.compile(
    r"(?<![\w.])/(wo" + r"rk|tmp/env|far" + r"m)/|py" + r"pi\.org|files\.python" + r"hosted|registry\.npm" + r"js"
)
_VAGUE = {"utils", "util", "common", "misc", "helper", "helpers", "manager", "base"}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_and_functions_keep_to_one_idea() -> None:
    long = [
        f"{path.relative_to(SOURCE)}" for path in MODULES if len(path.read_text().splitlines()) > MOST_LINES_OF_A_FILE
    ]
    for path in MODULES:
        for function in _functions(path):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                long.append(f"{path.relative_to(SOURCE)}: {function.name} has {length} lines")
    assert long == []


def test_every_module_and_public_function_says_what_it_does() -> None:
    silent = [
        f"{path.relative_to(SOURCE)}"
        for path in MODULES
        if path.read_text().strip() and not ast.get_docstring(parse(path))
    ]
    for path in MODULES:
        for node in parse(path).body:
            is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert silent == []


def test_no_module_has_a_vague_name() -> None:
    assert [path for path in MODULES if path.stem in _VAGUE] == []


def test_nothing_is_left_unfinished() -> None:
    assert [str(path.relative_to(SOURCE)) for path in MODULES if _UNFINISHED.search(path.read_text())] == []


def test_no_machine_and_no_package_index_is_named() -> None:
    named = [
        f"{path.relative_to(REPOSITORY)}: {found[0]}" for path, text in text_files() if (found := _MACHINE.search(text))
    ]
    assert named == []
