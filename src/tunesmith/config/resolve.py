"""From given keys to checked values: aliases become fields, notes are collected, every wrong key and value is named.

Needs no pydantic, so that a usage error answers at once. Knows nothing of sections' meaning; `checks` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunesmith.config.fields import FIELDS
from tunesmith.config.given import Given
from tunesmith.config.known import Unbuilt, load_known_keys, nearest_key
from tunesmith.config.values import read_value
from tunesmith.errors import NotSupportedYetError, UsageError


@dataclass(frozen=True, slots=True)
class Values:
    """The value of every field: as given, or its default. `given` holds the fields that were given, checked."""

    given: Mapping[str, Given]
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.given[key].value if key in self.given else FIELDS[key].default

    def where(self, *keys: str) -> str:
        """`run.yaml, line 3: bf16` (and the other given keys) for the start of a message."""
        first = next((self.given[key] for key in keys if key in self.given), None)
        return f"{first.place}: {keys[0]}" if first else keys[0]


@dataclass(slots=True)
class _Findings:
    """What went wrong, and what is only worth a note."""

    wrong: list[str] = field(default_factory=list)
    unbuilt: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def stop(self) -> None:
        """Raise the error that the findings call for, if any: one line each."""
        if self.wrong:
            raise UsageError("\n".join(self.wrong + self.unbuilt))
        if self.unbuilt:
            raise NotSupportedYetError("\n".join(self.unbuilt))


def resolve(file: Iterable[Given], overrides: Iterable[Given]) -> Values:
    """Checked values of `file` with `overrides` on top.

    Raises UsageError with one line for every unknown key, wrong value and contradiction of two names of one key;
    NotSupportedYetError where a key asks for a part that is not built.
    """
    findings = _Findings()
    file, overrides = _beside_lora([*file], [*overrides])
    chosen = _by_field(file, findings)
    chosen.update({given.key: given for given in (_translate(item, findings) for item in overrides)})
    checked = {key: value for key, given in chosen.items() if (value := _check(given, findings)) is not None}
    findings.stop()
    return Values(given=checked, notes=tuple(findings.notes))


def _beside_lora(*written: list[Given]) -> list[list[Given]]:
    """`written` without `tune_llm: false` where `use_lora: true` stands too.

    MiniCPM-V's script demands the pair: the weights under the adapter stay fixed. freeze_language_model would say more,
    that the language model gets no adapter either.
    """
    if not any(given.key == "use_lora" and given.value is True for part in written for given in part):
        return list(written)
    return [[given for given in part if (given.key, given.value) != ("tune_llm", False)] for part in written]


def _by_field(file: Iterable[Given], findings: _Findings) -> dict[str, Given]:
    chosen: dict[str, Given] = {}
    for written in file:
        given = _translate(written, findings)
        other = chosen.get(given.key)
        if other is not None and other.value != given.value:
            findings.wrong.append(
                f"{written}: it means {given.key}, which {other.place.rpartition(', ')[2]} sets to something else; "
                "keep one of the two"
            )
        chosen[given.key] = given
    return chosen


def _translate(written: Given, findings: _Findings) -> Given:
    """`written` under the name of its field, where it came under another."""
    if written.key in FIELDS:
        return written
    alias = load_known_keys().aliases.get(written.key)
    if alias is None:
        return written
    if alias.note:
        findings.notes.append(f"{written.key}: {alias.note}")
    if alias.values is None:
        return replace(written, key=alias.key)
    if written.value not in alias.values:
        expected = " or ".join(str(value).lower() for value in alias.values)
        findings.wrong.append(f"{written} is {written.value!r}; expected {expected}")
        return Given(key=alias.key, value=None, text=None, place=written.place)
    value = alias.values[written.value]
    return Given(key=alias.key, value=value, text=value if isinstance(value, str) else None, place=written.place)


def _check(given: Given, findings: _Findings) -> Given | None:
    """The given field with its checked value; None for a key that is no field, or wrong (then `findings` says so)."""
    known = load_known_keys()
    if given.key in known.noted:
        findings.notes.append(f"{given.key}: {known.noted[given.key]}")
    elif given.key in known.later:
        _check_unbuilt(given, known.later[given.key], findings)
    elif given.key in FIELDS:
        return _check_field(given, findings)
    else:
        near = nearest_key(given.key)
        findings.wrong.append(
            f"{given.place}: unknown key {given.key}" + (f"; did you mean {near}?" if near else "; remove it")
        )
    return None


def _check_field(given: Given, findings: _Findings) -> Given | None:
    row, limits = FIELDS[given.key], load_known_keys().limited.get(given.key)
    try:
        value = read_value(given, row)
    except (ValueError, TypeError):
        shown = "not text" if row.kind == "secret" else f"{given.text or given.value!r}"
        findings.wrong.append(f"{given} is {shown}; expected {row.expected}")
        return None
    if limits:
        _check_unbuilt(given, limits, findings)
    return replace(given, value=value)


def _check_unbuilt(given: Given, row: Unbuilt, findings: _Findings) -> None:
    if not row.allows(given.value):
        shown = "" if row.secret else f"={given.value if given.text is None else given.text}"
        findings.unbuilt.append(f"{given}{shown} is not supported yet; {row.instead}")
