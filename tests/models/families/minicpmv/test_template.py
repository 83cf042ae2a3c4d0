"""A published chat template behind the prelude: media get their markers, text stays byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny.kinds import read_template
from tunesmith.chat.bundled import load_bundled
from tunesmith.chat.content import template_messages
from tunesmith.chat.dialect import call_style, places_media, reads_reasoning, takes_lists_only
from tunesmith.chat.message import Conversation, Media, Message, Text
from tunesmith.chat.render import render_conversation
from tunesmith.chat.template import ChatTemplate, TemplateRefusalError
from tunesmith.models.families.minicpmv.template import with_parts, without_parts

MARKERS = {"image": "(<image>./</image>)", "video": "(<video>./</video>)"}
PUBLISHED = read_template("qwen3")
IMAGE, VIDEO = {"type": "image"}, {"type": "video"}
TOOLS = [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "look", "arguments": {"where": "左边"}}}
TEXT_ONLY: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hi\n"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}],
    [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "red"},
        {"role": "tool", "content": "blue"},
        {"role": "assistant", "content": "<think>\nTwo.\n</think>\n\nRed and blue."},
    ],
    [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.", "reasoning_content": "Because."}],
]


def build(source: str = "", **options: Any) -> ChatTemplate:
    published = source or PUBLISHED
    tokens = {"eos_token": "<|im_end|>"}
    return ChatTemplate(str(with_parts(published, MARKERS)), special_tokens=tokens, options=options)


def content_of(*parts: Any) -> str:
    """What the template makes of the content of one user message."""
    text = build().render([{"role": "user", "content": list(parts)}])
    return text.removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n")


def words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize("messages", TEXT_ONLY)
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("options", [{}, {"enable_thinking": False}, {"enable_thinking": True}])
def test_text_is_as_published(messages: list[dict[str, Any]], tools: Any, options: dict[str, Any]) -> None:
    published = ChatTemplate(PUBLISHED, options=options)

    for prompt in (False, True):
        expected = published.render(messages, tools=tools, add_generation_prompt=prompt)
        assert build(**options).render(messages, tools=tools, add_generation_prompt=prompt) == expected


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((IMAGE, words("What?")), "(<image>./</image>)\nWhat?"),
        ((words("What?"), IMAGE), "What?\n(<image>./</image>)"),
        ((IMAGE, words("\nWhat?")), "(<image>./</image>)\nWhat?"),
        ((words("See:\n"), IMAGE, words("and")), "See:\n(<image>./</image>)\nand"),
        ((IMAGE, IMAGE), "(<image>./</image>)\n(<image>./</image>)"),
        ((IMAGE, words(""), VIDEO), "(<image>./</image>)\n(<video>./</video>)"),
        ((words("one "), words("text")), "one text"),
        (("plain", IMAGE, " strings"), "plain\n(<image>./</image>)\n strings"),
        ((IMAGE,), "(<image>./</image>)"),
    ],
)
def test_one_line_break_between_a_medium_and_what_stands_beside_it(parts: tuple[Any, ...], text: str) -> None:
    assert content_of(*parts) == text


def test_kinds_the_model_does_not_take_are_refused() -> None:
    with pytest.raises(TemplateRefusalError, match="this model takes no audio parts"):
        content_of({"type": "audio"})


def test_what_it_understands_is_found() -> None:
    template = build()

    assert not takes_lists_only(template, "user")
    for role in ("system", "user", "assistant", "tool"):
        assert [places_media(template, role, kind) for kind in ("image", "video", "audio")] == [True, True, False]
    assert reads_reasoning(template) == reads_reasoning(ChatTemplate(PUBLISHED))
    assert call_style(template) == call_style(ChatTemplate(PUBLISHED))


def test_a_row_with_a_picture_keeps_its_spans() -> None:
    image = Media("image", "a.png")
    row = Conversation(
        (
            Message("user", (image, Text("What is it?"))),
            Message("assistant", (Text("A ring."),)),
            Message("user", (Text("And this?\n"), image)),
            Message("assistant", (Text("A star."),)),
        )
    )

    rendered = render_conversation(build(), row, mask_history=False, train_on_prompt=False)

    literal = [rendered.text[slice(*span)] for span in rendered.literal]
    supervised = [rendered.text[slice(*span)] for span in rendered.supervised]
    assert literal == ["What is it?", "A ring.", "And this?", "A star."]
    assert supervised == ["A ring.<|im_end|>", "A star.<|im_end|>"]
    assert "user\n(<image>./</image>)\nWhat is it?<|im_end|>" in rendered.text
    assert "user\nAnd this?\n(<image>./</image>)<|im_end|>" in rendered.text
    assert template_messages(row, template=build())[1]["content"] == "A ring."


def test_whitespace_before_the_published_template_stays() -> None:
    assert build("\n  {{ messages[0].content }}!").render(TEXT_ONLY[0]) == "\n  Hi\n!"


def test_the_prelude_is_put_on_once_and_comes_off_again() -> None:
    once = with_parts(PUBLISHED, MARKERS)

    assert with_parts(once, MARKERS) == once
    assert without_parts(once, MARKERS) == PUBLISHED
    assert without_parts(PUBLISHED, MARKERS) == PUBLISHED
    assert without_parts(with_parts({"default": "a", "rag": "b"}, MARKERS), MARKERS) == {"default": "a", "rag": "b"}


def test_a_bundled_template_takes_parts_by_itself_and_stays_as_it_is() -> None:
    bundled = load_bundled("minicpm_v")
    assert with_parts(bundled, MARKERS) == bundled
