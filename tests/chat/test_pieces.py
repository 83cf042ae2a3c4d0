"""Where an answer falls apart at its thought tags."""

from __future__ import annotations

from tunesmith.chat.pieces import Piece, language_tags, stretches, text_tags_after, text_tags_before


def _cores(text: str, *, splits: bool = True) -> list[tuple[str, bool]]:
    return [(text[start:end], is_thought) for start, end, is_thought in stretches(text, splits=splits)]


def test_stretches() -> None:
    assert _cores(" <think>\n why \n</think>\n\n ok ") == [("why", True), ("ok", False)]
    assert _cores("<think>x</think> y", splits=False) == [("<think>x</think> y", False)]
    assert _cores("<think>\n\n</think> \n") == []


def test_tags_around_leading_thoughts_are_language() -> None:
    assert language_tags("\n<think>a</think>b</think>") == {1, 9}
    assert language_tags("why\n</think>\n\nok") == {4}
    assert language_tags("Write <think> and </think>.") == frozenset()
    assert language_tags("The tag </think> closes.") == frozenset()


def test_tags_that_are_text_belong_to_their_neighbours() -> None:
    text = "</think> a <think> b"
    (start, end, _), (later, last, _) = stretches(text, splits=True)
    first = Piece(0, "content", text, start, end, False, "", "")
    second = Piece(0, "content", text, later, last, False, "", "")
    assert text_tags_before(first) == len("</think> ")
    assert text_tags_after(first) == text_tags_before(second) == len(" <think>")
