"""The first rows of every dataset, encoded before anything else: systematic mistakes are found before the model loads.

Where these are all rows, everything is known from the start: every unusable row, and the length of every example.
Knows nothing of orders, batches and models' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.report_builder import Use
from tunesmith.data.report.survey import Surveyor
from tunesmith.data.store.address import RowRef

NUM_FIRST_ROWS = 1000
"""Rows of each dataset that are looked at before training."""

_NUM_SAMPLES, _NUM_MEDIA_SAMPLES = 64, 8


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first rows of one dataset that are used for one thing, and how many such rows it has (None: not counted)."""

    refs: Sequence[RowRef]
    num_rows: int | None
    used_for: Use


@dataclass(frozen=True, slots=True)
class LookedAt:
    """The first rows to train on of one dataset.

    lengths:  tokens of each, 0 for one that is left out
    num_rows: rows it has to train on, None where nobody counted them
    complete: whether these are all of them
    """

    lengths: Mapping[RowRef, int]
    num_rows: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the first rows showed.

    parts:   of each dataset to train on, in their order
    refs:    every row looked at, held-out ones too
    samples: some of the examples to train on: the first, and a few with media
    """

    parts: tuple[LookedAt, ...]
    refs: frozenset[RowRef]
    samples: tuple[Encoded, ...]

    @property
    def complete(self) -> bool:
        """Whether every row to train on was looked at."""
        return all(part.complete for part in self.parts)

    @property
    def usable_share(self) -> float:
        """Share of the rows to train on that are not left out; 1 where there are none."""
        lengths = [length for part in self.parts for length in part.lengths.values()]
        return sum(length > 0 for length in lengths) / len(lengths) if lengths else 1.0

    def length_of(self, ref: RowRef) -> int:
        """Tokens of a row to train on, 0 for one that is left out. Raises KeyError for a row not looked at."""
        return self.parts[ref.dataset].lengths[ref]


def look_at_first_rows(
    rows: Sequence[FirstRows], examples: Examples, surveyor: Surveyor
) -> tuple[FirstLook, list[RowProblem]]:
    """Encode `rows`, tell the surveyor of them; what they showed, and those of them that cannot be used."""
    parts: list[LookedAt] = []
    samples: list[Encoded] = []
    problems: list[RowProblem] = []
    for first in rows:
        outcomes = examples.outcomes(first.refs)
        surveyor.look(outcomes, used_for=first.used_for)
        problems += [found.problem for found in outcomes if found.problem is not None and not found.is_dropped]
        if first.used_for == "train":
            parts.append(LookedAt(_lengths(outcomes), first.num_rows, len(first.refs) == first.num_rows))
            samples += _choose_samples([found.encoded for found in outcomes if found.encoded is not None])
    refs = frozenset(ref for first in rows for ref in first.refs)
    return FirstLook(tuple(parts), refs, tuple(samples)), problems


def _lengths(outcomes: Sequence[Outcome]) -> dict[RowRef, int]:
    return {found.ref: 0 if found.encoded is None else len(found.encoded) for found in outcomes}


def _choose_samples(examples: Sequence[Encoded]) -> list[Encoded]:
    with_media = [example for example in examples[_NUM_SAMPLES:] if example.media]
    return [*examples[:_NUM_SAMPLES], *with_media[:_NUM_MEDIA_SAMPLES]]
