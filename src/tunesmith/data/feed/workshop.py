"""What workers do: encode rows, and make a batch of examples, without those whose media turn out to be broken.

Knows nothing of processes, order or windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunesmith.chat.message import Media
from tunesmith.data.batches.collate import Batch, Collator
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.windows import EncodeRows, OnBadRow
from tunesmith.data.problem import RowError, RowProblem
from tunesmith.errors import DataError


@dataclass(frozen=True, slots=True)
class MakeBatch:
    """A request for the batch of these examples; the answer is Made."""

    examples: tuple[Encoded, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of the examples whose media could be opened, None if of none; `broken` by the numbers of the others."""

    batch: Batch | None
    broken: Mapping[int, RowProblem]


@dataclass(frozen=True, slots=True)
class Workshop:
    """Answers the requests of a pipeline. With on_bad_row `stop` a broken medium raises DataError, naming the row."""

    examples: Examples
    collator: Collator
    on_bad_row: OnBadRow

    def __call__(self, request: EncodeRows | MakeBatch) -> list[Outcome] | Made:
        """Outcomes or Made, as asked. Raises DataError."""
        if isinstance(request, EncodeRows):
            return self.examples.outcomes(request.refs)
        return self._make(request.examples)

    def _make(self, examples: Sequence[Encoded]) -> Made:
        try:
            return Made(self._collate(examples), {})
        except DataError as error:
            if self.on_bad_row == "stop":
                raise DataError(f"{error}\nCorrect the row, or set on_bad_row: skip to train without it.") from error
            broken = {number: problem for number, example in enumerate(examples) if (problem := self._fault(example))}
            if not broken:  # nothing that leaving a row out would cure
                raise
        sound = [example for number, example in enumerate(examples) if number not in broken]
        return Made(self._collate(sound) if sound else None, broken)

    def _collate(self, examples: Sequence[Encoded]) -> Batch:
        media: list[tuple[Media, ...]] = [self.examples.media(example) for example in examples]
        return self.collator(examples, media)

    def _fault(self, example: Encoded) -> RowProblem | None:
        """Why no batch can be made of `example` alone, None if one can."""
        try:
            self._collate([example])
        except RowError as error:
            return RowProblem(example.source, error.kind, error.detail)
        except DataError as error:
            return RowProblem(example.source, "broken media", str(error).removeprefix(f"{example.source}: "))
        return None
