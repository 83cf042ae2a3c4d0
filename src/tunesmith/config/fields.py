"""Every settings field by its flat name: its section, and what a value of it may be.

The table (fields.json) is what lets a wrong key or value be named in a tenth of the time that pydantic takes to
import. `make keys` writes it from the sections, and a house test keeps the two equal. Knows nothing of files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["flag", "integer", "number", "text", "choice", "names", "secret", "object"]

TABLE = Path(__file__).with_name("fields.json")


class Field(NamedTuple):
    """One settings field. `above`, `least`, `below` and `most` bound a number; `nullable` fields may be null; a flag's
    choices are words that it may be beside true and false.
    """

    section: str
    kind: Kind
    default: Any = None
    nullable: bool = False
    choices: tuple[str | int, ...] = ()
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    @property
    def expected(self) -> str:
        """What a value should be, for error messages."""
        noun = _NOUNS[self.kind]
        if self.choices:
            choices = ("true", "false", *self.choices) if self.kind == "flag" else self.choices
            noun = "one of " + ", ".join(str(choice) for choice in choices)
        return noun + "".join(f" {word} {bound:g}" for word, bound in self._bounds() if bound is not None)

    def _bounds(self) -> tuple[tuple[str, float | None], ...]:
        return ("above", self.above), ("from", self.least), ("below", self.below), ("up to", self.most)


_NOUNS: dict[Kind, str] = {
    "flag": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "text": "text",
    "choice": "text",
    "names": "names, comma-separated or as a list",
    "secret": "text",
    "object": "a mapping or a list as README.md shows it",
}


def _read_table() -> dict[str, Field]:
    rows: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Field(**{**row, "choices": tuple(row.get("choices", ()))}) for name, row in rows.items()}


FIELDS = _read_table()
"""Flat key -> Field, in the order of the sections."""
