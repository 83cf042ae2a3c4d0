"""Settings of a command line: `key=value`, `--key value`, `--key=value`, and `--flag` alone for true."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunesmith.config.given import Given
from tunesmith.config.known import load_known_keys
from tunesmith.config.yaml_values import parse_value
from tunesmith.errors import UsageError

_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)
_DASHED = re.compile(r"--(?P<key>[A-Za-z_][\w.-]*)(=(?P<value>.*))?", re.DOTALL)
PLACE = "command line"
HIDDEN = "***"


def parse_overrides(arguments: Sequence[str]) -> list[Given]:
    """The settings among `arguments`, in order. `--report_to a b` is a list; hyphens in a key read as underscores.

    Raises UsageError for a word that is neither of the forms above.
    """
    found: list[Given] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        dashed, assignment = _DASHED.fullmatch(argument), _ASSIGNMENT.fullmatch(argument)
        if dashed:
            key = dashed["key"].replace("-", "_")
            found.append(_read(key, [dashed["value"]] if dashed["value"] is not None else _take_values(rest)))
        elif assignment:
            found.append(_read(assignment["key"], [assignment["value"]]))
        else:
            raise UsageError(f"{PLACE}: {argument!r} is neither key=value nor --key value")
    return found


def hide_secrets(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the values of tokens and keys as ***, fit to be shown and written down."""
    shown, hides_next = [], False
    for argument in arguments:
        match = _DASHED.fullmatch(argument) or _ASSIGNMENT.fullmatch(argument)
        is_secret = match is not None and load_known_keys().is_secret(match["key"].replace("-", "_"))
        if match and is_secret and match["value"] is not None:
            argument = argument[: match.start("value")] + HIDDEN
        shown.append(HIDDEN if hides_next and not match else argument)
        hides_next = (is_secret and match is not None and match["value"] is None) or (hides_next and not match)
    return shown


def _take_values(rest: list[str]) -> list[str]:
    """Take the words that belong to a `--key` off the front of `rest`: up to the next key."""
    values: list[str] = []
    while rest and not _DASHED.fullmatch(rest[0]) and not _sets_a_known_key(rest[0]):
        values.append(rest.pop(0))
    return values


def _sets_a_known_key(word: str) -> bool:
    """`--do_train lora_rank=8` sets two keys; `--default_system answer=short` sets one."""
    assignment = _ASSIGNMENT.fullmatch(word)
    return assignment is not None and assignment["key"] in load_known_keys().names()


def _read(key: str, values: list[str]) -> Given:
    if not values:
        return Given(key=key, value=True, text="true", place=PLACE)
    if len(values) > 1:
        return Given(key=key, value=values, text=None, place=PLACE)
    value = parse_value(values[0])
    is_scalar = value is not None and not isinstance(value, list | dict)
    return Given(key=key, value=value, text=values[0] if is_scalar else None, place=PLACE)
