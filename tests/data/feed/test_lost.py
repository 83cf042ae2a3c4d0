"""Lost samples as all processes have found them, and what becomes of their rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tunesmith.chat.message import RowSource
from tunesmith.data.encoding.encoded import Encoded, Piece
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.lost import LostSample, LostSamples
from tunesmith.data.problem import RowProblem
from tunesmith.data.store.address import RowRef


def row(number: int, *, pieces: int = 0) -> Outcome:
    source, ref = RowSource("rows.jsonl", number), RowRef(0, 0, number, (number, 1))
    ids = np.arange(4, dtype=np.int32)
    encoded = Encoded(ids, ids, None, (), 0, False, source, ref, pieces=(Piece(2, 0),) * pieces)
    return Outcome(ref, source, encoded)


def lost(outcome: Outcome, *, number: int = 0, detail: str = "cut off") -> LostSample:
    return LostSample(number, outcome.ref, RowProblem(outcome.source, "broken media", detail))


def test_a_lost_row_has_a_problem_in_place_of_its_example() -> None:
    sound, broken = row(0), row(1)
    settled = LostSamples().settle([sound, broken], [lost(broken)], ends_epoch=False)
    assert settled[0] is sound
    assert settled[1] == replace(broken, encoded=None, problem=lost(broken).problem)


def test_a_document_keeps_its_other_samples_whenever_its_row_is_told() -> None:
    document, samples = row(2, pieces=2), LostSamples()
    assert samples.settle([], [lost(document)], ends_epoch=False) == ()
    (told,) = samples.settle([document], [], ends_epoch=True)
    assert told.encoded is document.encoded and told.cut == "samples cut: broken media: cut off"
    assert samples.settle([document], [], ends_epoch=False) == (document,)  # another epoch: all is forgotten


def test_of_several_problems_the_last_in_the_step_is_told_whoever_tells_first() -> None:
    document = row(3, pieces=3)
    first, second = lost(document, number=1, detail="first"), lost(document, number=2, detail="second")
    told = [LostSamples().settle([document], found, ends_epoch=True) for found in ([first, second], [second, first])]
    assert [one.cut for (one,) in told] == ["samples cut: broken media: second"] * 2


def test_what_a_process_found_itself_is_settled_once() -> None:
    broken = row(4)
    settled = LostSamples().settle([broken], [lost(broken)], ends_epoch=False)
    assert LostSamples().settle(settled, [lost(broken)], ends_epoch=False) == settled
