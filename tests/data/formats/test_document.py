"""Documents: one message of text, with media where it says so."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.chat.message import Media, Message, Text
from tunesmith.data.formats.document import read_document
from tunesmith.data.formats.layout import Columns, Layout
from tunesmith.data.problem import RowError

PLAIN = Layout(columns=Columns(prompt="text", query=None, response=None), rows="documents")
MEDIA = Layout(
    columns=Columns(prompt="text", images="images", videos="videos", audios="audios"),
    expects_media=frozenset({"image", "video", "audio"}),
    rows="documents",
)
A, B = Media("image", b"a"), Media("image", b"b")


def parts_of(row: dict[str, Any], layout: Layout = MEDIA) -> tuple[Any, ...]:
    (message,) = read_document(row, layout).messages
    assert message.role == "assistant"
    return message.parts


def test_a_document_is_one_message() -> None:
    assert read_document({"text": "One.\n\nTwo."}, PLAIN).messages == (Message("assistant", (Text("One.\n\nTwo."),)),)


def test_placeholders_in_the_text_take_the_media_in_order() -> None:
    row = {"text": "See <image> and <image>, hear <audio>.", "images": [b"a", b"b"], "audios": b"wav"}
    assert parts_of(row) == (
        Text("See "),
        A,
        Text(" and "),
        B,
        Text(", hear "),
        Media("audio", b"wav"),
        Text("."),
    )


def test_typed_parts_hold_media_in_their_places() -> None:
    parts = [{"type": "text", "text": "See "}, {"type": "image", "image": b"a"}, {"type": "text", "text": "."}]
    assert parts_of({"text": parts}) == (Text("See "), A, Text("."))


def test_media_that_the_text_does_not_mention_stand_before_it() -> None:
    assert parts_of({"text": "A cat.", "images": [b"a", b"b"]}) == (A, B, Text("A cat."))


def test_a_placeholder_is_text_where_nobody_speaks_of_media() -> None:
    assert parts_of({"text": "HTML has no <image>."}, PLAIN) == (Text("HTML has no <image>."),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"body": "a"}, "no text: there is no column 'text' (columns here: body)"),
        ({"text": None}, "no text: there is no column 'text'"),
        ({"text": 3}, "wrong type: text has content a number ('3'); expected text or a list of parts"),
        ({"text": " \n"}, "empty document: text holds no text"),
        ({"text": "half \ud83d"}, "broken text: text holds half a character"),
        ({"text": "<image>", "images": []}, "wrong number of images: the text has 1 <image> and the row has 0 images"),
        ({"text": "<image>", "images": [b"a", b"b"]}, "the text has 1 <image> and the row has 2 images"),
        ({"text": [{"type": "tool_call", "value": []}, {"type": "thinking", "value": "hm"}]}, "thoughts or tool calls"),
    ],
)
def test_bad_documents_say_what_is_wrong(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_document(row, MEDIA)
    assert reason in str(caught.value)
