"""The dicts a template is given."""

from __future__ import annotations

from tests.chat.samples import WEATHER, image, message, own, talk, tool_talk
from tunesmith.chat.content import template_messages, template_tools, with_default_system
from tunesmith.chat.message import Conversation, ToolCall


def test_text_is_a_string_and_media_make_a_list() -> None:
    conversation = Conversation((message("user", image(), "What?"), message("assistant", "A ", "cat")))
    assert template_messages(conversation, template=own("qwen2_vl")) == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A cat"},
    ]


def test_text_is_a_list_where_the_template_wants_one() -> None:
    assert template_messages(talk("hi"), template=own("smolvlm")) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    ]


def test_thoughts_go_inline_where_the_template_has_no_field() -> None:
    conversation = Conversation((message("user", "?"), message("assistant", "ok", reasoning="why")))
    assert template_messages(conversation, template=own("qwen3"))[1] == {
        "role": "assistant",
        "content": "ok",
        "reasoning_content": "why",
        "thinking": "why",
    }
    assert template_messages(conversation, template=own("phi4"))[1]["content"] == "<think>\nwhy\n</think>\n\nok"


def test_calls_are_objects_without_ids() -> None:
    messages = template_messages(tool_talk(), template=own("qwen3"))
    assert messages[1]["content"] == ""
    assert messages[1]["tool_calls"] == [
        {"type": "function", "function": {"name": "get_weather", "arguments": {"city": '北京 "x"', "days": 2}}}
    ]
    assert messages[2] == {"role": "tool", "name": "get_weather", "content": '{"rain": true}'}


def test_ids_connect_calls_and_results_where_the_template_asks_for_them() -> None:
    two = (ToolCall("a", {}), ToolCall("b", {}, id="abcdefghi"))
    conversation = Conversation(
        (message("user", "?"), message("assistant", tool_calls=two), message("tool", "1"), message("tool", "2"))
    )
    messages = template_messages(conversation, template=own("mistral_nemo"))
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call00000", "abcdefghi"]
    assert [(m["name"], m["tool_call_id"]) for m in messages[2:]] == [("a", "call00000"), ("b", "abcdefghi")]


def test_deepseeks_calls_have_no_content_and_written_arguments() -> None:
    call = template_messages(tool_talk(), template=own("deepseek_r1"))[1]
    assert call["content"] is None
    assert call["tool_calls"][0]["function"]["arguments"] == '{"city": "北京 \\"x\\"", "days": 2}'


def test_bare_schemas_are_wrapped() -> None:
    assert template_tools(tool_talk()) == [{"type": "function", "function": WEATHER}]
    assert template_tools(talk("hi")) is None


def test_a_default_system_message_stands_in_for_none_or_an_empty_one() -> None:
    with_system = with_default_system(talk("hi"), "Be kind.")
    assert with_system == talk("hi", system="Be kind.")
    assert with_default_system(talk("hi", system=""), "Be kind.") == with_system
    assert with_default_system(with_system, "Other.") == with_system
    assert with_default_system(talk("hi", system=""), None) == talk("hi", system="")
