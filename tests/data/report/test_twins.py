"""Equal rows among many, by their hashes."""

from __future__ import annotations

from tunesmith.chat.message import RowSource
from tunesmith.data.report.twins import NUM_EXAMPLES, RowHashes, Twins, find_duplicates, find_leaks


def hashes(*rows: tuple[int, str, int]) -> RowHashes:
    found = RowHashes()
    for content, file, row in rows:
        found.add(content, RowSource(file, row))
    return found


def test_where_a_row_stands_is_found_again() -> None:
    places = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("a", 9), ("a", 4), ("a", 5)]
    found = hashes(*((number, file, row) for number, (file, row) in enumerate(places)))
    assert [found.source(number) for number in range(len(places))] == [RowSource(file, row) for file, row in places]


def test_duplicates_name_the_first_of_them() -> None:
    rows = hashes((7, "a", 0), (8, "a", 1), (7, "b", 0), (9, "b", 1), (7, "b", 2))
    first = RowSource("a", 0)
    assert find_duplicates(rows) == Twins(2, ((RowSource("b", 0), first), (RowSource("b", 2), first)))


def test_a_row_drawn_twice_is_no_duplicate_of_itself() -> None:
    assert find_duplicates(hashes((7, "a", 0), (8, "a", 1), (7, "a", 0))) == Twins()


def test_many_duplicates_are_counted_and_few_are_named() -> None:
    found = find_duplicates(hashes(*((row % 10, "a", row) for row in range(1000))))
    assert (found.rows, len(found.examples)) == (990, NUM_EXAMPLES)


def test_leaks_name_the_row_that_is_trained_on() -> None:
    train, held_out = hashes((2**64 - 1, "a", 0), (3, "a", 1)), hashes((3, "v", 0), (4, "v", 1), (2**64 - 1, "v", 2))
    assert find_leaks(held_out, train) == Twins(
        2, ((RowSource("v", 0), RowSource("a", 1)), (RowSource("v", 2), RowSource("a", 0)))
    )
    assert find_leaks(held_out, hashes()) == find_leaks(hashes(), train) == Twins()
    assert find_duplicates(hashes()) == Twins()
