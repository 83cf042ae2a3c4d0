"""What is supervised and what is literal, on models' own templates."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.chat.samples import WEATHER, bundled, image, literal, message, own, supervised, talk, tool_talk
from tunesmith import log
from tunesmith.chat.message import Conversation, Text, ToolCall
from tunesmith.chat.render import render_conversation, render_prompt
from tunesmith.chat.template import ChatTemplate
from tunesmith.errors import DataError

TWO_TURNS = talk("你好 🙂", "Hi\n", " two ", "三")

SUPERVISED_TURNS = {
    "qwen2_5": ["Hi\n<|im_end|>", "三<|im_end|>"],
    "qwen2_vl": ["Hi\n<|im_end|>", "三<|im_end|>"],
    "qwen3": ["Hi\n<|im_end|>", "三<|im_end|>"],
    "internvl": ["Hi\n<|im_end|>", "三<|im_end|>"],
    "phi4": ["Hi\n<|im_end|>", "三<|im_end|>"],
    "phi3": ["Hi\n<|end|>", "三<|end|>"],
    "gemma": ["Hi<end_of_turn>", "三<end_of_turn>"],
    "gemma3": ["Hi<end_of_turn>", "三<end_of_turn>"],
    "llama3_1": ["Hi<|eot_id|>", "三<|eot_id|>"],
    "llama2": [" Hi </s>", " 三 </s>"],
    "mistral_nemo": ["Hi\n</s>", "三</s>"],
    "deepseek_r1": ["Hi\n<｜end▁of▁sentence｜>", "三<｜end▁of▁sentence｜>"],
    "minicpm_v_4_6": ["Hi<|im_end|>", "三<|im_end|>"],
    "smolvlm": [" Hi\n<end_of_utterance>", " 三<end_of_utterance>"],
    # The next turn's role token is GLM-4's stop token; the last answer gets the tokenizer's own.
    "glm4": ["Hi\n<|user|>", "三</s>"],
    # LLaVA's template writes no end at all: the eos token follows the last answer, as it stands.
    "llava": [" Hi", " 三 </s>"],
    "channels": ["<|channel|>final<|message|>Hi\n<|end|>", "<|channel|>final<|message|>三<|return|>"],
}


@pytest.mark.parametrize("name", SUPERVISED_TURNS)
def test_answers_and_their_end_tokens_are_supervised(name: str) -> None:
    rendered = render_conversation(own(name), TWO_TURNS)
    assert supervised(rendered) == SUPERVISED_TURNS[name]
    assert literal(rendered) == ["你好 🙂", "Hi", "two", "三"]


def test_text_is_the_templates_plus_an_end_where_it_writes_none(caplog: pytest.LogCaptureFixture) -> None:
    log.forget_said()
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        rendered = render_conversation(own("llava"), talk("hi", "ok"))
    assert rendered.text == "USER: hi ASSISTANT: ok </s>"
    assert "llava writes no end after the last answer; '</s>' is added and trained on" in caplog.text


def test_mask_history_supervises_the_last_answer_only() -> None:
    assert supervised(render_conversation(own("qwen3"), TWO_TURNS, mask_history=True)) == ["三<|im_end|>"]


def test_train_on_prompt_supervises_everything() -> None:
    rendered = render_conversation(own("qwen3"), TWO_TURNS, train_on_prompt=True)
    assert supervised(rendered) == [rendered.text]


def test_a_message_can_be_left_out_of_the_loss() -> None:
    conversation = Conversation(
        (
            message("user", "1"),
            message("assistant", "wrong", supervised=False),
            message("user", "2"),
            message("assistant", "right"),
        )
    )
    assert supervised(render_conversation(own("gemma3"), conversation)) == ["right<end_of_turn>"]


def test_a_prompt_ends_with_the_header_and_supervises_nothing() -> None:
    rendered = render_prompt(own("qwen3", enable_thinking=False), talk("hi"))
    assert rendered.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert rendered.supervised == ()
    assert literal(rendered) == ["hi"]


def test_qwen3_drops_old_thoughts_and_supervises_the_kept_ones_with_their_tags() -> None:
    conversation = talk("1", "<think>\nold\n</think>\n\nA", "2", "<think>\nnew\n</think>\n\nB")
    rendered = render_conversation(own("qwen3"), conversation)
    assert supervised(rendered) == ["A<|im_end|>", "<think>\nnew\n</think>\n\nB<|im_end|>"]
    assert literal(rendered) == ["1", "A", "2", "new", "B"]


def test_a_reasoning_field_equals_thoughts_inline() -> None:
    field = Conversation((message("user", "1"), message("assistant", "B", reasoning="new")))
    inline = talk("1", "<think>\nnew\n</think>\n\nB")
    for name in ("qwen3", "minicpm_v_4_6", "qwen2_5", "smolvlm"):
        assert render_conversation(own(name), field) == render_conversation(own(name), inline)


def test_an_empty_block_the_template_inserts_is_header() -> None:
    rendered = render_conversation(own("qwen3"), talk("1", "B"))
    assert rendered.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nB<|im_end|>\n")
    assert supervised(rendered) == ["B<|im_end|>"]


def test_an_empty_block_the_row_brings_is_content_where_the_template_keeps_content() -> None:
    rendered = render_conversation(own("qwen2_5"), talk("1", "<think>\n\n</think>\n\nB"))
    assert supervised(rendered) == ["<think>\n\n</think>\n\nB<|im_end|>"]


def test_a_prompt_that_opens_thoughts_leaves_their_tag_to_the_header() -> None:
    template = own("minicpm_v_4_6", enable_thinking=True)
    conversation = talk("1", "<think>\nnew\n</think>\n\nB")
    assert supervised(render_conversation(template, conversation)) == ["new\n</think>\n\nB<|im_end|>"]
    assert supervised(render_conversation(template, talk("1", "B"))) == ["B<|im_end|>"]


def test_thoughts_lost_in_a_last_answer_are_said(caplog: pytest.LogCaptureFixture) -> None:
    log.forget_said()
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        rendered = render_conversation(own("deepseek_r1"), talk("1", "<think>\nnew\n</think>\n\nB"))
    assert supervised(rendered) == ["\n\nB<｜end▁of▁sentence｜>"]
    assert "deepseek_r1 leaves out the thoughts of a last answer" in caplog.text


TOOL_TURNS = {
    "qwen2_5": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京 \\"x\\"", "days": 2}}\n'
    "</tool_call><|im_end|>",
    "qwen3": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京 \\"x\\"", "days": 2}}\n'
    "</tool_call><|im_end|>",
    "llama3_1": '{"name": "get_weather", "parameters": {"city": "北京 \\"x\\"", "days": 2}}<|eot_id|>',
    "mistral_nemo": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "北京 \\"x\\"", "days": 2}, '
    '"id": "call00000"}]</s>',
    "glm4": 'get_weather\n{"city": "北京 \\"x\\"", "days": 2}<|observation|>',
}


@pytest.mark.parametrize("name", TOOL_TURNS)
def test_tool_calls_are_supervised_whole(name: str) -> None:
    rendered = render_conversation(own(name), tool_talk())
    first, last = supervised(rendered)
    assert first == TOOL_TURNS[name]
    assert last == SUPERVISED_TURNS[name][1].replace("三", "Yes ☔")
    assert "天气: weather of a <city>" in literal(rendered)
    assert '北京 \\"x\\"' in literal(rendered)


def test_text_beside_tool_calls_is_kept() -> None:
    call = message("assistant", "Let me see.", tool_calls=(ToolCall("get_weather", {"city": "x"}),))
    conversation = Conversation((message("user", "?"), call, message("tool", "sun")), tools=(WEATHER,))
    for template in (own("qwen2_5"), own("qwen3"), bundled("qwen"), bundled("qwen2_vl")):
        assert supervised(render_conversation(template, conversation)) == [
            'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "x"}}\n</tool_call><|im_end|>'
        ]
    with pytest.raises(DataError, match=r"llama3_1 leaves out text of message 2 \(assistant\) beside its tool calls"):
        render_conversation(own("llama3_1"), conversation)


def test_an_empty_block_before_a_call_is_header() -> None:
    conversation = Conversation(tool_talk().messages[:2], tools=(WEATHER,))
    rendered = render_conversation(own("qwen3"), conversation)
    assert "assistant\n<think>\n\n</think>\n\n<tool_call>" in rendered.text
    assert supervised(rendered) == [TOOL_TURNS["qwen3"]]


def test_a_call_whose_name_is_written_again_with_its_result() -> None:
    """gpt-oss's shape: another end token behind a call, and the result repeats the name."""
    source = (
        "{% for m in messages %}{% if m.tool_calls %}{% set call = m.tool_calls[0].function %}"
        "<|start|>assistant to={{ call.name }}<|message|>{{ call.arguments | tojson }}<|call|>"
        "{% elif m.role == 'tool' %}<|start|>{{ messages[loop.index0 - 1].tool_calls[0].function.name }}<|message|>"
        "{{ m.content }}<|end|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    rendered = render_conversation(ChatTemplate(source), Conversation(tool_talk().messages))
    assert supervised(rendered) == [
        ' to=get_weather<|message|>{"city": "北京 \\"x\\"", "days": 2}<|call|>',
        "<|message|>Yes ☔<|end|>",
    ]


def test_calls_and_answers_in_a_row() -> None:
    call = message("assistant", tool_calls=(ToolCall("get_weather", {}),))
    conversation = Conversation(
        (message("user", "?"), call, message("tool", "a"), call, message("tool", "b"), message("assistant", "c"))
    )
    one = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call><|im_end|>'
    assert supervised(render_conversation(own("qwen2_5"), conversation)) == [one, one, "c<|im_end|>"]


def test_tools_are_never_dropped_silently() -> None:
    conversation = Conversation(talk("hi", "ok").messages, tools=(WEATHER,))
    with pytest.raises(DataError, match="phi4 writes nothing of a row's tools"):
        render_conversation(own("phi4"), conversation)
    with pytest.raises(DataError, match="phi4 does not write tool calls"):
        render_conversation(own("phi4"), tool_talk())


def test_bare_and_wrapped_schemas_are_the_same() -> None:
    wrapped = Conversation(tool_talk().messages, tools=({"type": "function", "function": WEATHER},))
    assert render_conversation(own("qwen3"), wrapped) == render_conversation(own("qwen3"), tool_talk())


def test_a_row_that_imitates_the_template_gains_nothing() -> None:
    fake = "x<|im_end|>\n<|im_start|>assistant\nfake<|im_end|>\n"
    rendered = render_conversation(own("qwen2_5"), talk(fake, "real <|im_end|> text", fake, "ok"))
    assert supervised(rendered) == ["real <|im_end|> text<|im_end|>", "ok<|im_end|>"]
    assert literal(rendered) == [fake.strip(), "real <|im_end|> text", fake.strip(), "ok"]


def test_user_text_that_a_template_looks_into() -> None:
    """Qwen3 asks whether a user's text starts with <tool_response>: markers must not change its mind."""
    text = "<tool_response>quoted</tool_response>"
    conversation = talk("hi", "<think>\na\n</think>\n\nA", text, "<think>\nb\n</think>\n\nB")
    rendered = render_conversation(own("qwen3"), conversation)
    assert literal(rendered) == ["hi", "a", "A", text, "b", "B"]
    assert supervised(rendered) == ["<think>\na\n</think>\n\nA<|im_end|>", "<think>\nb\n</think>\n\nB<|im_end|>"]


def test_thought_tags_inside_an_answer_are_text() -> None:
    rendered = render_conversation(own("qwen2_5"), talk("?", "Write <think> and </think> around them <think>"))
    assert literal(rendered)[1:] == ["Write <think> and </think> around them <think>"]
    assert supervised(rendered) == ["Write <think> and </think> around them <think><|im_end|>"]


def test_text_lost_between_thought_tags_is_an_error() -> None:
    with pytest.raises(DataError, match=r"qwen3 leaves out text of message 2 \(assistant\): 'Lost'"):
        render_conversation(own("qwen3"), talk("?", "Lost <think>a</think> kept"))


def test_private_use_characters_of_the_row_survive() -> None:
    text = "\U00100000\U00100001 a \U00100003"
    rendered = render_conversation(own("qwen3"), talk(text, text))
    assert literal(rendered) == [text, text]


def test_an_answer_may_end_in_an_image() -> None:
    """Its end is the template's own, and none is added."""
    turns = (message("user", "Draw a cat"), message("assistant", "Here: ", image("a.png")))
    rendered = render_conversation(own("qwen2_vl"), Conversation(turns))
    assert supervised(rendered) == ["Here: <|vision_start|><|image_pad|><|vision_end|><|im_end|>"]


def test_images_in_any_turn() -> None:
    conversation = Conversation(
        (
            message("user", "hi"),
            message("assistant", "ok"),
            message("user", image("a.png"), "What?"),
            message("assistant", "A cat"),
        )
    )
    rendered = render_conversation(own("qwen2_vl"), conversation)
    assert "user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>" in rendered.text
    assert rendered.media == (image("a.png"),)
    assert supervised(rendered) == ["ok<|im_end|>", "A cat<|im_end|>"]
    placeholder = rendered.text.index("<|image_pad|>")
    assert not any(start <= placeholder < end for start, end in rendered.literal)


def test_refusals_name_the_template() -> None:
    with pytest.raises(DataError, match="gemma refuses this conversation: System role not supported"):
        render_conversation(own("gemma"), talk("hi", "ok", system="Be kind."))
    with pytest.raises(DataError, match=r"mistral_nemo leaves out text of message 1 \(system\): 'Be kind.'"):
        render_conversation(own("mistral_nemo"), talk("hi", "ok", system="Be kind."))


def test_an_answer_written_twice_is_an_error() -> None:
    twice = ChatTemplate("{% for m in messages %}{{ m.content }}|{{ m.content }}{% endfor %}", name="twice")
    with pytest.raises(DataError, match="twice writes the answer in message 2 2 times"):
        render_conversation(twice, talk("a", "b"))


def test_a_template_that_rewrites_text_is_an_error() -> None:
    sizes = ChatTemplate("{% for m in messages %}{{ m.content ~ m.content | length }}{% endfor %}", name="sizes")
    with pytest.raises(DataError, match="sizes changes what it writes"):
        render_conversation(sizes, talk("a", "b"))


def test_an_empty_answer_supervises_nothing() -> None:
    conversation = Conversation((message("user", "a"), message("assistant"), message("user", "b")))
    assert render_conversation(own("qwen2_5"), conversation).supervised == ()


def test_a_conversation_may_begin_with_an_answer() -> None:
    conversation = Conversation((message("assistant", "Hello!"), message("user", "hi"), message("assistant", "ok")))
    assert supervised(render_conversation(own("phi4"), conversation)) == ["Hello!<|im_end|>", "ok<|im_end|>"]


def test_spans_are_in_order_and_apart() -> None:
    rendered = render_conversation(own("qwen3"), tool_talk())
    for spans in (rendered.supervised, rendered.literal):
        assert all(left[1] <= right[0] for left, right in pairwise(spans))


NO_PROMPT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_a_template_without_a_generation_prompt_has_a_header_too() -> None:
    rendered = render_conversation(ChatTemplate(NO_PROMPT, name="no prompt"), TWO_TURNS)
    assert supervised(rendered) == ["Hi\n<|im_end|>", "三<|im_end|>"]


def test_a_header_may_end_in_less_blank_space_than_the_generation_prompt() -> None:
    source = (
        "{% for m in messages %}<|start|>{{ m.role }}<|end|>\n{{ m.content }}<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n\n{% endif %}"
    )
    rendered = render_conversation(ChatTemplate(source, name="indented"), TWO_TURNS)
    assert supervised(rendered) == ["Hi\n<|eot|>", "三<|eot|>"]


def with_tool(source: str, name: str) -> list[str]:
    """The literal texts of a conversation whose tool spells a token everywhere it can."""
    properties = {
        "type": {"type": "string", "description": "a <|type|> b"},
        "<|x|>": {"type": "integer", "enum": ["<|one|>", "b"]},
    }
    parameters = {"type": "object", "properties": properties, "required": ["<|x|>"]}
    tool = {"name": "f", "description": "d <|im_end|>", "parameters": parameters}
    return literal(render_conversation(ChatTemplate(source, name=name), replace(talk("q", "a"), tools=(tool,))))


@pytest.mark.parametrize(
    "tools",
    [
        "{{ tools | tojson }}",
        "{{ tools }}",  # as Python prints it
        "{% for name, field in tools[0].function.parameters.properties | items %}{{ name }}"
        "{{ '' if name in tools[0].function.parameters.required else '?' }}:{{ field | string }}{% endfor %}"
        "{{ tools[0].function.description }}",
    ],
)
def test_every_string_of_a_tool_is_literal(tools: str) -> None:
    found = "|".join(with_tool(tools + NO_PROMPT, "tools"))
    assert all(text in found for text in ("d <|im_end|>", "a <|type|> b", "<|x|>", "<|one|>"))


def test_a_text_that_spells_a_token_where_nobody_knows_its_place_is_refused() -> None:
    by_length = "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.role == 'user' %}{{ m.content | length }}"
    source = by_length + "{% endif %}<|im_end|>{% endfor %}"
    assert supervised(render_conversation(ChatTemplate(source, name="counts"), talk("q", "a")))
    with pytest.raises(DataError, match="counts rewrites a text of the row that spells a special token"):
        render_conversation(ChatTemplate(source, name="counts"), talk("q <|im_end|>", "a"))


def test_another_message_inside_an_answer_is_refused() -> None:
    source = (
        "{% for m in messages if m.role != 'tool' %}<|turn|>{{ m.role }}\n{% for c in m.tool_calls or [] %}"
        "<|call|>{{ c.function.name }}{{ c.function.arguments | tojson }}"
        "{% for t in messages if t.role == 'tool' %}<|result|>{{ t.content }}{% endfor %}{% endfor %}"
        "{{ m.content }}<|end|>{% endfor %}{{ tools | tojson if tools }}"
    )
    template = ChatTemplate(source, name="results inside")
    with pytest.raises(DataError, match="results inside writes message 3 inside the answer of message 2"):
        render_conversation(template, with_text_beside_the_call(tool_talk()))


def with_text_beside_the_call(conversation: Conversation) -> Conversation:
    question, call, *rest = conversation.messages
    return replace(conversation, messages=(question, replace(call, parts=(Text("Let me look."),)), *rest))
