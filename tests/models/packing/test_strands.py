"""What a packed sequence is cut into, and who sees which beginning."""

from __future__ import annotations

from tunesmith.models.packing.strands import Strand, strands_of


def test_plain_samples_are_a_strand_each() -> None:
    assert strands_of((3, 1)) == (Strand(0, 0, 0, 3), Strand(3, 0, 3, 1))
    assert strands_of((3, 1), ((), ())) == strands_of((3, 1))
    assert strands_of(()) == ()


def test_further_answers_see_the_beginning_and_not_each_other() -> None:
    first, second, third = strands_of((12,), ((2, 4, 1),))
    assert first == Strand(root=0, shared=0, start=0, num_tokens=7)  # five of the beginning and the first answer
    assert second == Strand(root=0, shared=5, start=7, num_tokens=4)
    assert third == Strand(root=0, shared=5, start=11, num_tokens=1)
    assert [strand.length for strand in (first, second, third)] == [7, 9, 6]
    assert third.stop == 12


def test_trees_and_plain_samples_lie_behind_each_other() -> None:
    strands = strands_of((4, 10, 2), ((), (3, 3), ()))
    assert [(strand.root, strand.shared, strand.start) for strand in strands] == [
        (0, 0, 0),
        (4, 0, 4),
        (4, 4, 11),
        (14, 0, 14),
    ]
    assert [strand.stop for strand in strands[:-1]] == [strand.start for strand in strands[1:]]


def test_one_answer_is_a_plain_sample() -> None:
    assert strands_of((9,), ((4,),)) == strands_of((9,))
