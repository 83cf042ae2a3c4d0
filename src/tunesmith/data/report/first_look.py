"""The first rows of every dataset, encoded before anything else: systematic mistakes are found before the model loads.

Where these are all rows, everything is known from the start: every unusable row, and the length of every example.
Knows nothing of orders, batches and models' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.problem import RowProblem
from tunesmith.data.report.report_builder import Use
from tunesmith.data.report.survey import Surveyor
from tunesmith.data.store.address import RowRef

NUM_FIRST_ROWS = 1000
"""Rows of each dataset that are looked at before training."""

_NUM_SAMPLES, _NUM_MEDIA_SAMPLES = 64, 8
_MOST_TOKENS, _ROWS_AT_ONCE = 1 << 25, 50
"""Tokens of a dataset after which no more rows are looked at: about half a minute of encoding."""


@dataclass(frozen=True, slots=True)
class FirstRows:
    """The first rows of one dataset that are used for one thing, and how many such rows it has (None: not counted)."""

    refs: Sequence[RowRef]
    num_rows: int | None
    used_for: Use


@dataclass(frozen=True, slots=True)
class LookedAt:
    """The first rows to train on of one dataset.

    lengths:  tokens of each sample that each gives, () for one that is left out
    num_rows: rows it has to train on, None where nobody counted them
    complete: whether these are all of them
    """

    lengths: Mapping[RowRef, tuple[int, ...]]
    num_rows: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the first rows showed.

    parts:   of each dataset to train on, in their order
    refs:    every row looked at, held-out ones too
    samples: some of the samples to train on: the first, and a few with media
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
        rows = self._rows
        return sum(map(bool, rows)) / len(rows) if rows else 1.0

    @property
    def samples_per_row(self) -> float:
        """Samples that a usable row gives, in the mean: more than 1 where documents are cut into pieces."""
        counts = [len(row) for row in self._rows if row]
        return sum(counts) / len(counts) if counts else 1.0

    def lengths_of(self, ref: RowRef) -> tuple[int, ...]:
        """Tokens of each sample of a row to train on, () for one left out. Raises KeyError for a row not looked at."""
        return self.parts[ref.dataset].lengths[ref]

    @property
    def _rows(self) -> list[tuple[int, ...]]:
        return [lengths for part in self.parts for lengths in part.lengths.values()]


def look_at_first_rows(
    rows: Sequence[FirstRows], examples: Examples, surveyor: Surveyor
) -> tuple[FirstLook, list[RowProblem]]:
    """Encode `rows`, tell the surveyor of them; what they showed, and those of them that cannot be used."""
    parts: list[LookedAt] = []
    samples: list[Encoded] = []
    problems: list[RowProblem] = []
    refs: set[RowRef] = set()
    for first in rows:
        outcomes = _outcomes(first.refs, examples)
        refs.update(found.ref for found in outcomes)
        surveyor.look(outcomes, used_for=first.used_for)
        problems += [found.problem for found in outcomes if found.problem is not None and not found.is_dropped]
        if first.used_for == "train":
            parts.append(LookedAt(_lengths(outcomes), first.num_rows, len(outcomes) == first.num_rows))
            samples += _choose_samples([found.encoded for found in outcomes if found.encoded is not None])
    return FirstLook(tuple(parts), frozenset(refs), tuple(samples)), problems


def _outcomes(refs: Sequence[RowRef], examples: Examples) -> list[Outcome]:
    """Of the rows at `refs`, but no more of them once they have tokens enough: a document may be a book."""
    outcomes: list[Outcome] = []
    num_tokens = 0
    for start in range(0, len(refs), _ROWS_AT_ONCE):
        some = examples.outcomes(refs[start : start + _ROWS_AT_ONCE])
        outcomes += some
        num_tokens += sum(len(found.encoded) for found in some if found.encoded is not None)
        if num_tokens >= _MOST_TOKENS:
            break
    return outcomes


def _lengths(outcomes: Sequence[Outcome]) -> dict[RowRef, tuple[int, ...]]:
    return {found.ref: () if found.encoded is None else found.encoded.sample_lengths for found in outcomes}


def _choose_samples(examples: Sequence[Encoded]) -> list[Encoded]:
    samples = chain.from_iterable(example.samples() for example in examples)
    first = list(islice(samples, _NUM_SAMPLES))
    return [*first, *islice((sample for sample in samples if sample.media), _NUM_MEDIA_SAMPLES)]
