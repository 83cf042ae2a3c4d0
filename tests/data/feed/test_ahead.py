"""Items are made ahead of their reader, no more than allowed, and what goes wrong is told in its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tunesmith.data.feed.ahead import iterate_ahead


def nothing() -> None:
    """Nobody to call off."""


def test_items_keep_their_order() -> None:
    assert list(iterate_ahead(iter(range(100)), most=3, call_off=nothing)) == list(range(100))


def test_no_more_are_made_than_allowed() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = iterate_ahead(make(), most=4, call_off=nothing)
    assert next(items) == 0
    deadline = time.monotonic() + 20
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert made == [0, 1, 2, 3, 4, 5]  # one read, four ready, one waiting for its place
    items.close()


def test_an_error_comes_behind_the_items_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the third"):
        seen.extend(iterate_ahead(make(), most=9, call_off=nothing))
    items = iterate_ahead(make(), most=9, call_off=nothing)
    assert [next(items), next(items)] == [1, 2]


def test_closing_ends_the_thread_even_where_it_waits() -> None:
    called_off = threading.Event()

    def wait_for_others() -> Iterator[int]:
        yield 1
        called_off.wait()
        raise RuntimeError("called off, and nobody reads on")

    items = iterate_ahead(wait_for_others(), most=1, call_off=called_off.set)
    assert next(items) == 1
    items.close()
    assert "data feed" not in {thread.name for thread in threading.enumerate()}
