"""The repository as the house tests see it: its files, and what its modules import."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "tunesmith"
MODULES = sorted(SOURCE.rglob("*.py"))
BINARY = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".parquet", ".arrow", ".safetensors", ".bin", ".gz"}


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that is, or would be, committed; the whole tree where there is no git."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        return tuple(path for path in REPOSITORY.rglob("*") if path.is_file() and ".venv" not in path.parts)
    paths = (REPOSITORY / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def text_files() -> Iterator[tuple[Path, str]]:
    """Path and text of every file that is text."""
    for path in repository_files():
        if path.suffix not in BINARY:
            yield path, path.read_text(encoding="utf-8")


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module or package of Tunesmith's that a file imports, below `tunesmith.`, with the line."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tunesmith":
            names = [f"tunesmith.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("tunesmith."):
                yield name.removeprefix("tunesmith."), node.lineno
