"""A document as text: what the row says, literally, between the model's own beginning and end."""

from __future__ import annotations

import pytest

from tunesmith.chat.document import DocumentForm, MediumForm, medium_form, render_document
from tunesmith.chat.message import Conversation, Media, Message, Text
from tunesmith.chat.template import ChatTemplate
from tunesmith.errors import DataError

IMAGE = MediumForm("<img>", "<box>", "</box>")
FORM = DocumentForm("<s>", "</s>", {"image": IMAGE})
CAT, DOG = Media("image", "cat.png"), Media("image", "dog.png")


def document(*parts: str | Media) -> Conversation:
    return Conversation((Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts)),))


def texts(rendered_text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [rendered_text[start:end] for start, end in spans]


def test_text_stands_between_the_tokens_of_beginning_and_end() -> None:
    rendered = render_document(document("Once ", "upon a time.\n"), FORM)
    assert rendered.text == "<s>Once upon a time.\n</s>"
    assert texts(rendered.text, rendered.supervised) == ["<s>Once upon a time.\n</s>"]
    assert texts(rendered.text, rendered.literal) == ["Once upon a time.\n"]
    assert render_document(document("a"), DocumentForm()).text == "a"


def test_media_stand_where_they_are_and_are_not_learned() -> None:
    rendered = render_document(document("a cat", CAT, DOG, "", "and </s> ", CAT), FORM)
    assert rendered.text == "<s>a cat<box><img></box><box><img></box>and </s> <box><img></box></s>"
    assert texts(rendered.text, rendered.supervised) == ["<s>a cat", "and </s> ", "</s>"]
    assert texts(rendered.text, rendered.literal) == ["a cat", "and </s> "]
    assert rendered.media == (CAT, DOG, CAT)


def test_a_document_may_be_nothing_but_media_and_not_nothing() -> None:
    assert render_document(document(CAT), DocumentForm(media={"image": IMAGE})).supervised == ()
    with pytest.raises(DataError, match="the document is empty"):
        render_document(document("", ""), FORM)


def test_a_kind_that_the_model_does_not_take_is_named() -> None:
    with pytest.raises(DataError, match=r"the document has clip\.mp4, but this model takes no video"):
        render_document(document("a", Media("video", "clip.mp4")), FORM)


TYPED = (
    "{% for part in messages[0].content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}__{% endif %}"
    "{% endfor %}"
)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("<v><pad></v>", MediumForm("<pad>", "<v>", "</v>")),
        ("<pad>", MediumForm("<pad>")),
        ("Audio 1: <|bos|><pad><|eos|>\n", MediumForm("<pad>", "<|bos|>", "<|eos|>")),
        ("<other>", MediumForm("<pad>")),
    ],
)
def test_marks_around_a_placeholder_are_those_of_the_chat_template(written: str, form: MediumForm) -> None:
    template = ChatTemplate(TYPED.replace("__", written.replace("\n", "\\n")))
    assert medium_form(template, "image", placeholder="<pad>") == form


def test_a_template_that_takes_no_media_leaves_the_bare_placeholder() -> None:
    refusing = ChatTemplate("{{ raise_exception('text only') }}")
    assert medium_form(refusing, "image", placeholder="<pad>") == MediumForm("<pad>")
