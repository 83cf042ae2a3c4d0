"""Reads a settings file, YAML or JSON, into given keys with their lines. Knows no key by name."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from tunesmith.config.given import Given
from tunesmith.config.yaml_values import parse_yaml
from tunesmith.errors import UsageError

RUN_SETTINGS = "run.yaml"
"""The resolved settings in a run folder."""


def read_file(path: Path) -> list[Given]:
    """The keys of a settings file, or of the run.yaml in a run folder.

    Raises UsageError where the file is missing (naming the nearest one there is), unreadable or broken.
    """
    if path.is_dir():
        path = path / RUN_SETTINGS
    name = str(path)
    text = _read_text(path)
    return parse_json(text, name=name) if path.suffix == ".json" else parse_yaml(text, name=name)


def parse_json(text: str, *, name: str) -> list[Given]:
    """The top-level keys of a JSON object; `name` is what messages call the file.

    Raises UsageError with file and line where the text is not a JSON object or has a key twice.
    """
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}, line {error.lineno}: this is not valid JSON: {error.msg}") from None
    if not isinstance(pairs, _Pairs):
        raise UsageError(f'{name}, line 1: expected an object like {{"learning_rate": 1.0e-4}}')
    entries: dict[str, Given] = {}
    for key, value in pairs:
        place = f"{name}, line {_line_of_key(text, key)}"
        if key in entries:
            raise UsageError(f"{place}: {key} stands there twice; keep one of the two")
        entries[key] = _given(key, _plain(value), place)
    return list(entries.values())


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys in order, doubled ones too."""


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _plain(inner) for key, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _given(key: str, value: Any, place: str) -> Given:
    is_scalar = value is not None and not isinstance(value, list | dict)
    text = value if isinstance(value, str) else json.dumps(value) if is_scalar else None
    return Given(key=key, value=value, text=text, place=place)


def _line_of_key(text: str, key: str) -> int:
    return text.count("\n", 0, max(text.find(json.dumps(key, ensure_ascii=False)), 0)) + 1


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(_describe_missing(path)) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _describe_missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, and there is no folder {folder} (seen from {Path.cwd()})"
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in {".yaml", ".yml", ".json"})
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.0)
    advice = f"; did you mean {folder / nearest[0]}?" if nearest else f"; {folder.absolute()} holds no YAML file"
    return f"{path} does not exist{advice}"
