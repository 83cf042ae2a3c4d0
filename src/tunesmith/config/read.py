"""Settings from a file, a mapping and a command line: the one door through which they come in.

Files are flat, as LLaMA-Factory's are; every key goes to the one section that has the field. pydantic is imported
only once the keys and values are known to be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import log
from tunesmith.config import checks
from tunesmith.config.fields import FIELDS
from tunesmith.config.files import RUN_SETTINGS, read_file
from tunesmith.config.given import Given, given_from_mapping
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.parallel_checks import settle_deepspeed
from tunesmith.config.resolve import Values, resolve
from tunesmith.errors import UsageError

if TYPE_CHECKING:
    from tunesmith.config.settings import Settings


def load_settings(target: Path | None, overrides: Sequence[str] = (), *, verb: checks.Verb | None = None) -> Settings:
    """Settings of a YAML or JSON file (or of a run folder), with `overrides` as on a command line on top.

    `verb` adds the checks of what that verb needs. Raises UsageError with one line for every problem.
    """
    file = read_file(target) if target else []
    return _load(file, parse_overrides(overrides), verb)


def load_settings_from(
    mapping: Mapping[str, Any] | Path, overrides: Mapping[str, Any] | None = None, *, verb: checks.Verb | None = None
) -> Settings:
    """Settings of a Python mapping (or a file) with the `overrides` of a Python call on top; the rest as above."""
    file = read_file(mapping) if isinstance(mapping, Path) else given_from_mapping(mapping, place="settings")
    return _load(file, given_from_mapping(overrides or {}, place="argument"), verb)


def check_settings(target: Path | None, overrides: Sequence[str] = (), *, verb: checks.Verb) -> None:
    """Raise at once what is wrong with the settings of `verb`, before anything heavy is imported.

    target: a settings file, a run folder, or another folder (a model, an adapter), which stands for its model
    """
    file: list[Given] = []
    if target and target.is_dir() and not (target / RUN_SETTINGS).is_file():
        file = given_from_mapping({"model_name_or_path": str(target)}, place="command line")
    elif target:
        file = read_file(target)
    checks.check(resolve(file, parse_overrides(overrides)), verb=verb)


def _load(file: Iterable[Given], overrides: Iterable[Given], verb: checks.Verb | None) -> Settings:
    values = resolve(file, overrides)
    checks.check(values, verb=verb)
    values = settle_deepspeed(values)
    settings = _build(values)
    for note in (*values.notes, *checks.notes(values)):
        log.note_once(note)
    return settings


def _build(values: Values) -> Settings:
    from pydantic import ValidationError

    from tunesmith.config.settings import Settings

    sections: dict[str, dict[str, Any]] = {}
    for key, given in values.given.items():
        sections.setdefault(FIELDS[key].section, {})[key] = given.value
    try:
        return Settings(**sections)
    except ValidationError as error:
        keys = dict.fromkeys(str(problem["loc"][1]) for problem in error.errors())
        raise UsageError("\n".join(_describe(values.given[key]) for key in keys)) from None


def _describe(given: Given) -> str:
    row = FIELDS[given.key]
    shown = "of the wrong kind" if row.kind == "secret" else repr(given.value)
    return f"{given} is {shown}; expected {row.expected}"
