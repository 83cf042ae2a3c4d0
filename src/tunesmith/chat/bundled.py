"""The chat templates that come with Tunesmith: for base models without one, and to keep an old YAML's text exact.

`templates/table.toml` names them (LLaMA-Factory's names) with their words, `templates/*.jinja` says how the words are
put together. What comes out is one self-contained Jinja source, fit to be saved beside a model.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

from tunesmith.errors import UsageError

_FOLDER = resources.files("tunesmith.chat") / "templates"
_TOKENS = {"{bos}": "bos_token", "{eos}": "eos_token"}
_SPACING = {"system": ("", ""), "user": ("", ""), "assistant": ("", "", "{eos}")}


def bundled_names() -> list[str]:
    """Every name `template:` takes, aliases included, sorted."""
    return sorted(name for name in _rows() if not name.startswith("_"))


@lru_cache(maxsize=64)
def load_bundled(name: str) -> str:
    """The Jinja source of the bundled template `name`.

    Raises UsageError for a name that is not bundled.
    """
    rows = _rows()
    if name not in bundled_names():
        near = difflib.get_close_matches(name, bundled_names(), n=3)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"template: {name} is not bundled; {guess}"
            "Leave `template` out to use the model's own chat template, or choose one of: " + ", ".join(bundled_names())
        )
    row = rows[name]
    tools = (_FOLDER / f"tools_{row.get('tools', 'none')}.jinja").read_text(encoding="utf-8")
    turns = (_FOLDER / "turns.jinja").read_text(encoding="utf-8")
    words = "\n".join(f"{{%- set {word} = {value} -%}}" for word, value in _words(row).items())
    return f"{words}\n{tools}{turns}"


@lru_cache(maxsize=1)
def _rows() -> Mapping[str, dict[str, Any]]:
    """name -> its words, `like` followed and aliases spelled out."""
    table: dict[str, dict[str, Any]] = tomllib.loads((_FOLDER / "table.toml").read_text(encoding="utf-8"))
    rows: dict[str, dict[str, Any]] = {}
    for name, own in table.items():
        inherited = rows[own["like"]] if "like" in own else {}
        rows[name] = {**inherited, **own}
    aliases = {alias: rows[name] for name, own in table.items() for alias in own.get("aliases", ())}
    return rows | aliases


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    """The variables of turns.jinja, each with its value as Jinja."""
    system, user, assistant = (row.get(part, _SPACING[part]) for part in ("system", "user", "assistant"))
    tool = row.get("tool", ("", user[0], user[1], ""))
    names = "prefix system_open system_close user_open user_close assistant_open answer_open assistant_close"
    values = [row.get("prefix", ""), *system, *user, *assistant]
    words = dict(zip(names.split(), map(_expression, values), strict=True))
    results = dict(zip("tool_open result_open result_close tool_close".split(), map(_expression, tool), strict=True))
    placeholders = {kind: row[kind] for kind in ("image", "video", "audio") if row.get(kind)}
    return {
        **words,
        **results,
        "space": _literal(row.get("space", "")),
        "default_system": _literal(row.get("default_system", "")),
        "system_in_user": _literal(row.get("system_in_user", False)),
        "thoughts": _literal(row.get("thoughts", [])),
        "placeholders": _literal(placeholders),
    }


def _expression(words: str) -> str:
    """`words` as a Jinja expression: {bos} and {eos} become the tokenizer's tokens, "" where it has none."""
    parts = []
    for piece in words.replace("{bos}", "\0{bos}\0").replace("{eos}", "\0{eos}\0").split("\0"):
        if piece in _TOKENS:
            parts.append(f"({_TOKENS[piece]} or '')")
        elif piece:
            parts.append(_literal(piece))
    return " ~ ".join(parts) or "''"


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
