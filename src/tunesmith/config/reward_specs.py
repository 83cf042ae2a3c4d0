"""`reward_funcs` and `reward_weights` as they may be written. Needs no pydantic, and loads no function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

NAMED = ("exact_match", "format", "reward_model")
"""Rewards that need no argument."""
PATTERNS = ("regex", "fullmatch")
"""Rewards that take a regular expression after a colon."""
_NONE = {"", "none", "null"}
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class RewardSpec(NamedTuple):
    """One reward: its kind, and what stands after its name. kind: one of NAMED, of PATTERNS, or `function`."""

    kind: str
    argument: str = ""


def read_reward_funcs(value: Any) -> Any:
    """The specs as texts: `- regex: "yes"`, a mapping to YAML, is the spec `regex: yes`.

    A text with commas is several specs, unless one of them is a pattern, which may have commas of its own. Raises
    ValueError for an entry that is neither text nor a mapping of one text.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
        return ()
    if isinstance(value, str):
        has_pattern = any(f"{name}:" in value for name in PATTERNS)
        value = [value] if has_pattern else value.split(",")
    entries = [value] if isinstance(value, dict) else value
    return tuple(map(_read_spec, entries))


def read_reward_weights(value: Any) -> Any:
    """`"1,0.5"` and `[1, 0.5]` both mean two weights."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
        return ()
    if isinstance(value, int | float):
        return (value,)
    return tuple(value.split(",")) if isinstance(value, str) else value


def parse_reward_spec(spec: str) -> RewardSpec:
    """What a spec names. Raises ValueError, which says what is wrong with it."""
    name, colon, argument = (part.strip() for part in spec.partition(":"))
    if spec in NAMED:
        return RewardSpec(spec)
    if name in PATTERNS and colon:
        _require_pattern(name, argument)
        return RewardSpec(name, argument)
    place, _, function = (part.strip() for part in spec.rpartition(":"))
    if function.isidentifier() and (place.endswith(".py") or _MODULE.fullmatch(place)):
        return RewardSpec("function", spec)
    raise ValueError(
        f"{spec!r} names no reward; expected {', '.join(NAMED)}, regex: PATTERN, fullmatch: PATTERN, "
        "path/to/file.py:function or package.module:function"
    )


def find_wrong_specs(specs: Sequence[str]) -> Iterator[str]:
    """A message for every spec that names no reward."""
    for spec in specs:
        try:
            parse_reward_spec(spec)
        except ValueError as error:
            yield str(error)


def _read_spec(entry: Any) -> str:
    if isinstance(entry, str) and entry.strip():
        return entry.strip()
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, argument),) = entry.items()
        return f"{name}: {argument}"
    raise ValueError(f"{entry!r} names no reward")


def _require_pattern(name: str, pattern: str) -> None:
    if not pattern:
        raise ValueError(f"{name}: stands without a pattern; write {name}: PATTERN")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name}: {pattern} is no regular expression: {error}") from None
