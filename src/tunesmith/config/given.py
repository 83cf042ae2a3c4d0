"""A setting as its user gave it: key, value, and the place to name in a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Given:
    """One key and its value.

    text:  the characters of a scalar, None for lists, mappings and null. Text fields take these, so that
           `eval_strategy: no` and `model_revision: 1.10` mean what they say in spite of YAML's guesses
    place: "run.yaml, line 3" or "command line"
    """

    key: str
    value: Any
    text: str | None
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key}"


def given_from_mapping(mapping: Mapping[str, Any], *, place: str) -> list[Given]:
    """The settings of a Python mapping."""
    return [
        Given(key=key, value=value, text=value if isinstance(value, str) else None, place=place)
        for key, value in mapping.items()
    ]
