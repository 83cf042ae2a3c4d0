"""What workers do: encode rows, and make a batch of examples, without those whose media turn out to be broken.

Knows nothing of processes, order or windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tunesmith.chat.message import Media, MediaKind
from tunesmith.data.batches.ballast import Ballast, has_terms
from tunesmith.data.batches.collate import Batch, Collator
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.feed.windows import EncodeRows, OnBadRow
from tunesmith.data.problem import RowError, RowProblem
from tunesmith.errors import DataError


@dataclass(frozen=True, slots=True)
class MakeBatch:
    """A request for the batch of these examples; the answer is Made.

    kinds: in lockstep, the kinds of media that the batch must have; it has something in its loss then, too. None: the
           batch is its examples and nothing else
    """

    examples: tuple[Encoded, ...]
    kinds: frozenset[MediaKind] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of the examples whose media could be opened; `broken` by the numbers of the others.

    batch: None if of none, unless in lockstep
    """

    batch: Batch | None
    broken: Mapping[int, RowProblem]


@dataclass(frozen=True, slots=True)
class Workshop:
    """Answers the requests of a pipeline. With on_bad_row `stop` a broken medium raises DataError, naming the row.

    ballast: needed for batches in lockstep alone
    """

    examples: Examples
    collator: Collator
    on_bad_row: OnBadRow
    ballast: Ballast | None = None

    def __call__(self, request: EncodeRows | MakeBatch) -> list[Outcome] | Made:
        """Outcomes or Made, as asked. Raises DataError."""
        if isinstance(request, EncodeRows):
            return self.examples.outcomes(request.refs)
        return self.make(request)

    def make(self, request: MakeBatch) -> Made:
        """The batch asked for. Raises DataError, RunError where there is no carrier of a kind of media."""
        examples = request.examples
        try:
            return Made(self._complete(examples, request.kinds), {})
        except DataError as error:
            if self.on_bad_row == "stop":
                raise DataError(f"{error}\nCorrect the row, or set on_bad_row: skip to train without it.") from error
            broken = {number: problem for number, example in enumerate(examples) if (problem := self._fault(example))}
            if not broken:  # nothing that leaving a row out would cure
                raise
        sound = [example for number, example in enumerate(examples) if number not in broken]
        return Made(self._complete(sound, request.kinds), broken)

    def _complete(self, examples: Sequence[Encoded], kinds: frozenset[MediaKind] | None) -> Batch | None:
        """The batch of `examples`, in lockstep with ballast."""
        if kinds is None:
            return self._collate(examples) if examples else None
        assert self.ballast is not None, "processes in lockstep are given ballast"
        batch = self._collate(self.ballast.completed(examples, kinds))
        return batch if has_terms(examples) else replace(batch, is_filler=True)

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
