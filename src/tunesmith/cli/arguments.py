"""What every verb's words are: a settings file or run folder, options of the verb itself, and settings.

`tunesmith VERB run.yaml --dry-run lora_rank=16 --learning_rate 1e-4`: the first word is the file if it is no setting,
the verb takes its own options out, and everything else goes to the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UsageError


@dataclass(frozen=True, slots=True)
class Arguments:
    """The words of a command line after the verb, sorted by whom they are for."""

    target: Path | None
    switches: frozenset[str]
    options: Mapping[str, tuple[str, ...]]
    overrides: tuple[str, ...]

    def option(self, name: str, default: str | None = None) -> str | None:
        """The last value given for `--name`, or the default."""
        values = self.options.get(name)
        return values[-1] if values else default


def split_arguments(argv: Sequence[str], *, switches: Sequence[str] = (), options: Sequence[str] = ()) -> Arguments:
    """Sort `argv`; `switches` are the verb's own words without a value, `options` those with one (they may repeat).

    Raises UsageError where an option of the verb lacks its value.
    """
    words = list(argv)
    target = Path(words.pop(0)) if words and _names_a_file(words[0]) else None
    taken: dict[str, list[str]] = {}
    found: set[str] = set()
    overrides: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if word in {f"--{switch}" for switch in switches}:
            found.add(name)
        elif word.startswith("--") and name in options:
            taken.setdefault(name, []).append(value if equals else _take_value(words, name))
        else:
            overrides.append(word)
    repeated = {name: tuple(values) for name, values in taken.items()}
    return Arguments(target=target, switches=frozenset(found), options=repeated, overrides=tuple(overrides))


def read_limit(arguments: Arguments) -> int | None:
    """What `--limit` says, None without it. Raises UsageError for anything but a whole number above 0."""
    given = arguments.option("limit")
    if given is None:
        return None
    if not given.isdecimal() or int(given) == 0:
        raise UsageError(f"command line: --limit {given}; expected a whole number above 0")
    return int(given)


def _names_a_file(word: str) -> bool:
    return not word.startswith("--") and ("=" not in word or Path(word).exists())


def _take_value(words: list[str], name: str) -> str:
    if not words:
        raise UsageError(f"command line: --{name} needs a value")
    return words.pop(0)
