"""Imports go down the layers and never sideways; the light layers load nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.house.tree import MODULES, SOURCE, own_imports, parse

# Low to high, as docs/structure.md draws them. What stands on one line does not know of each other.
LAYERS = (
    ("errors",),
    ("env", "extras"),
    ("log",),
    ("config",),
    ("chat", "media", "recipes", "launch"),
    ("models",),
    ("data",),
    ("infer",),
    ("train",),
    ("evaluate", "export", "estimate", "diagnose", "augment"),
    ("compose",),
    ("convert",),
    ("runs",),
    ("serve", "studio"),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LIGHT = {"errors", "env", "extras", "log", "config", "chat", "media", "recipes", "launch", "runs"}
FRONT = {"__init__.py", "__main__.py"}
INSIDE = [path for path in MODULES if not (path.parent == SOURCE and path.name in FRONT)]


def _package(path_parts: tuple[str, ...]) -> str:
    return path_parts[0].removesuffix(".py")


def test_every_package_has_its_layer() -> None:
    assert {_package(path.relative_to(SOURCE).parts) for path in INSIDE} <= set(LEVEL)


def test_imports_go_down() -> None:
    wrong = []
    for path in INSIDE:
        package = _package(path.relative_to(SOURCE).parts)
        for name, line in own_imports(path):
            imported = name.partition(".")[0]
            if imported != package and LEVEL[imported] >= LEVEL[package]:
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {package} imports {name}")
    assert wrong == []


def test_no_relative_imports() -> None:
    relative = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in MODULES
        for node in parse(path).body
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize("package", sorted(LIGHT))
def test_light_layers_load_no_torch(package: str) -> None:
    modules = [
        "tunesmith." + ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if _package(path.relative_to(SOURCE).parts) == package
    ]
    program = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "sys.exit(', '.join(name for name in ('torch', 'transformers') if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
