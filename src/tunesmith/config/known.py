"""The keys that are known without being settings fields (known_keys.yaml), and the nearest key to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tunesmith.config.fields import FIELDS
from tunesmith.config.yaml_values import load_yaml

TABLE = Path(__file__).with_name("known_keys.yaml")


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of `key`; `values` translates what is given, `note` is said once per run."""

    key: str
    values: Mapping[Any, Any] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A key, or values of a key, whose part is not there yet: what passes, and what to do instead."""

    allowed: tuple[Any, ...]
    instead: str
    secret: bool = False

    def allows(self, value: Any) -> bool:
        """Whether `value` asks for nothing: null, or one of `allowed` (1 and true are not the same)."""
        if value is None or (isinstance(value, str) and value.strip().lower() in {"none", "null"}):
            return True
        return any(value == fine and isinstance(value, bool) == isinstance(fine, bool) for fine in self.allowed)


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """known_keys.yaml."""

    aliases: Mapping[str, Alias]
    noted: Mapping[str, str]
    later: Mapping[str, Unbuilt]
    limited: Mapping[str, Unbuilt]

    def names(self) -> set[str]:
        """Every key that a file may have."""
        return {*FIELDS, *self.aliases, *self.noted, *self.later}

    def is_secret(self, key: str) -> bool:
        """Whether the value of `key` must never be shown or written."""
        if key in self.later:
            return self.later[key].secret
        field = FIELDS.get(self.aliases[key].key if key in self.aliases else key)
        return field is not None and field.kind == "secret"


@cache
def load_known_keys() -> KnownKeys:
    """known_keys.yaml, read once."""
    table = load_yaml(TABLE.read_text(encoding="utf-8"))
    return KnownKeys(
        aliases={name: Alias(**row) for name, row in table["aliases"].items()},
        noted=table["noted"],
        later=_unbuilt(table["later"]),
        limited=_unbuilt(table["limited"]),
    )


def _unbuilt(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Unbuilt]:
    return {name: Unbuilt(**{**row, "allowed": tuple(row["allowed"])}) for name, row in rows.items()}


def nearest_key(key: str) -> str | None:
    """The known key most like `key` (or like the last part of a dotted one), if one is like it at all."""
    near = difflib.get_close_matches(key.rpartition(".")[2], sorted(load_known_keys().names()), n=1, cutoff=0.6)
    return near[0] if near else None
