"""The bundled templates: what each writes, letter by letter."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.chat.samples import BUNDLED_NAMES, WEATHER, bundled, image, message, own, talk, tool_talk
from tunesmith.chat.content import template_messages
from tunesmith.chat.message import Conversation, Media
from tunesmith.chat.render import render_conversation, render_prompt
from tunesmith.chat.template import ChatTemplate, load_bundled
from tunesmith.errors import DataError, UsageError

GOLDEN = tomllib.loads((Path(__file__).parent / "golden.toml").read_text(encoding="utf-8"))
TURNS = ("你好 🙂", "Hi\n", " two", "三")


def _render(name: str, conversation: Conversation) -> str:
    template = bundled(name)
    return template.render(template_messages(conversation, template=template))


def test_every_bundled_name_is_golden() -> None:
    assert sorted(GOLDEN) == BUNDLED_NAMES


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_text(name: str) -> None:
    assert _render(name, talk(*TURNS)) == GOLDEN[name]["plain"]
    assert _render(name, talk(*TURNS, system="Be kind.")) == GOLDEN[name]["system"]


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_empty_system_means_the_default(name: str) -> None:
    assert _render(name, talk(*TURNS, system="")) == GOLDEN[name]["plain"]


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_prompt_is_the_beginning_of_the_answered_conversation(name: str) -> None:
    prompt = render_prompt(bundled(name), talk("one", "Hi", "two")).text
    answered = render_conversation(bundled(name), talk("one", "Hi", "two", "Answer")).text
    assert answered.startswith(prompt)
    assert "Answer" not in prompt


CHATML_TOOLS = (
    "<|im_start|>system\n{system}# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    '{{"type": "function", "function": {{"name": "get_weather", "description": "天气: weather of a <city>", '
    '"parameters": {{"type": "object", "properties": {{"city": {{"type": "string", "description": "The city"}}}}, '
    '"required": ["city"]}}}}}}\n</tools>\n\n'
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    'XML tags:\n<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\nRain in 北京?<|im_end|>\n"
    '<|im_start|>assistant\n<tool_call>\n{{"name": "get_weather", "arguments": '
    '{{"city": "北京 \\"x\\"", "days": 2}}}}\n</tool_call><|im_end|>\n'
    '<|im_start|>user\n<tool_response>\n{{"rain": true}}\n</tool_response><|im_end|>\n'
    "<|im_start|>assistant\n{thoughts}Yes ☔<|im_end|>\n"
)
LISTED = (
    "You have access to the following tools:\n> Tool Name: get_weather\n"
    "Tool Description: 天气: weather of a <city>\nTool Args:\n  - city (string, required): The city\n\n"
    "Use the following format if using a tool:\n```\nAction: tool name (one of [get_weather])\n"
    "Action Input: the input to the tool, in a JSON format representing the kwargs "
    '(e.g. ```{"input": "hello world", "num_beams": 5}```)\n```\n'
)
SCHEMA = (
    '{"type": "function", "function": {"name": "get_weather", "description": "天气: weather of a <city>", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "The city"}}, '
    '"required": ["city"]}}}'
)
CALL = '"get_weather", "{key}": {{"city": "北京 \\"x\\"", "days": 2}}'

TOOL_TEXTS = {
    "qwen": CHATML_TOOLS.format(
        system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n\n", thoughts=""
    ),
    "qwen3": CHATML_TOOLS.format(system="", thoughts="<think>\n\n</think>\n\n"),
    "qwen3_nothink": CHATML_TOOLS.format(system="", thoughts=""),
    "chatml": (
        f"<|im_start|>system\n{LISTED}<|im_end|>\n<|im_start|>user\nRain in 北京?<|im_end|>\n<|im_start|>assistant\n"
        'Action: get_weather\nAction Input: {"city": "北京 \\"x\\"", "days": 2}<|im_end|>\n'
        '<|im_start|>tool\n{"rain": true}<|im_end|>\n<|im_start|>assistant\nYes ☔<|im_end|>\n'
    ),
    "mistral": (
        f"<s>[AVAILABLE_TOOLS] [{SCHEMA}][/AVAILABLE_TOOLS][INST] Rain in 北京?[/INST]"
        f'[TOOL_CALLS] [{{"name": {CALL.format(key="arguments")}}}]</s>'
        '[TOOL_RESULTS] {"content": {"rain": true}}[/TOOL_RESULTS] Yes ☔</s>'
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\nYou have access to the following functions. To call a function, please respond "
        'with JSON for a function call. Respond in the format {"name": function name, "parameters": dictionary of '
        "argument name and its value}. Do not use variables.\n\n"
        '{\n    "type": "function",\n    "function": {\n        "name": "get_weather",\n'
        '        "description": "天气: weather of a <city>",\n        "parameters": {\n            "type": "object",\n'
        '            "properties": {\n                "city": {\n                    "type": "string",\n'
        '                    "description": "The city"\n                }\n            },\n'
        '            "required": [\n                "city"\n            ]\n        }\n    }\n}\n\n<|eot_id|>'
        "<|start_header_id|>user<|end_header_id|>\n\nRain in 北京?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        f'{{"name": {CALL.format(key="parameters")}}}<|eot_id|>'
        '<|start_header_id|>ipython<|end_header_id|>\n\n{"rain": true}<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes ☔<|eot_id|>"
    ),
    "glm4": (
        "[gMASK]<sop><|system|>\n你是一个名为 ChatGLM 的人工智能助手。"
        "你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
        "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具\n\n## get_weather\n\n"
        '{\n    "name": "get_weather",\n    "description": "天气: weather of a <city>",\n    "parameters": {\n'
        '        "type": "object",\n        "properties": {\n            "city": {\n                "type": "string",\n'
        '                "description": "The city"\n            }\n        },\n        "required": [\n'
        '            "city"\n        ]\n    }\n}\n在调用上述函数时，请使用 Json 格式表示调用的参数。'
        '<|user|>\nRain in 北京?<|assistant|>get_weather\n{"city": "北京 \\"x\\"", "days": 2}'
        '<|observation|>\n{"rain": true}<|assistant|>\nYes ☔'
    ),
}


@pytest.mark.parametrize("name", TOOL_TEXTS)
def test_tools(name: str) -> None:
    template = bundled(name)
    messages = template_messages(tool_talk(), template=template)
    assert template.render(messages, tools=[{"type": "function", "function": WEATHER}]) == TOOL_TEXTS[name]


PLACEHOLDERS = {
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava": "<image>",
    "gemma3": "<start_of_image>",
    "minicpm_v": "(<image>./</image>)",
    "minicpm_v_4_6": "<|image_pad|>",
    "minicpm_o": "(<image>./</image>)",
    "intern_vl": "<IMG_CONTEXT>",
    "mllama": "<|image|>",
    "pixtral": "[IMG]",
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_images_stand_where_the_row_has_them(name: str) -> None:
    conversation = Conversation(
        (
            message("user", "一"),
            message("assistant", "ok"),
            message("user", "a ", image("1.png"), " b ", image("2.png"), "?"),
            message("assistant", "two"),
        )
    )
    rendered = render_conversation(bundled(name), conversation)
    assert f"a {PLACEHOLDERS[name]} b {PLACEHOLDERS[name]}?" in rendered.text
    assert [media.name for media in rendered.media] == ["1.png", "2.png"]


def test_audio_and_video_placeholders() -> None:
    clip, sound = Media("video", "1.mp4"), Media("audio", "1.wav")
    assert "<|vision_start|><|video_pad|><|vision_end|>?" in _render(
        "qwen2_vl", Conversation((message("user", clip, "?"), message("assistant", "x")))
    )
    assert "(<audio>./</audio>)?" in _render(
        "minicpm_o", Conversation((message("user", sound, "?"), message("assistant", "x")))
    )
    for name, marker in (("minicpm_v", "(<video>./</video>)"), ("minicpm_v_4_6", "<|video_pad|>")):
        assert f"user\n{marker}?" in _render(
            name, Conversation((message("user", clip, "?"), message("assistant", "x")))
        )


def test_media_without_a_place_names_the_template() -> None:
    conversation = Conversation((message("user", image(), "?"), message("assistant", "x")))
    with pytest.raises(DataError, match=r"llama3 has no place for images in user messages \(cat.png\)"):
        render_conversation(bundled("llama3"), conversation)


def test_results_of_several_calls_share_a_turn_in_qwen() -> None:
    conversation = Conversation(
        (*tool_talk().messages[:3], message("tool", "second"), message("assistant", "ok")), tools=(WEATHER,)
    )
    assert (
        '<|im_start|>user\n<tool_response>\n{"rain": true}\n</tool_response>\n'
        "<tool_response>\nsecond\n</tool_response><|im_end|>\n"
    ) in _render("qwen", conversation)


@pytest.mark.parametrize(
    "conversation",
    [
        talk("1", "A", "2", "B", system="Be kind."),
        talk("1", "<think>\nold\n</think>\n\nA", "2", "<think>\n\nnew\n</think>\n\n\nB"),
        talk("1", "<think>new</think>B"),
        tool_talk(),
        Conversation((message("user", "1"), message("assistant", "B", reasoning="why"))),
    ],
)
def test_qwen3_writes_what_the_models_own_template_writes(conversation: Conversation) -> None:
    assert render_conversation(bundled("qwen3"), conversation) == render_conversation(own("qwen3"), conversation)


def test_qwen3_without_thinking_drops_thoughts_and_prompts_with_an_empty_block() -> None:
    template = bundled("qwen3", enable_thinking=False)
    rendered = render_prompt(template, talk("hi", "<think>\nno\n</think>\n\nyes", "and?"))
    assert rendered.text == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_tokens_the_tokenizer_lacks_are_left_out() -> None:
    text = ChatTemplate(load_bundled("intern2"), name="intern2").render([{"role": "user", "content": "hi"}])
    assert text.startswith("<|im_start|>system\nYou are an AI assistant whose name is InternLM (书生·浦语).\n")


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(UsageError, match="qwen2vl is not bundled; did you mean qwen2_vl"):
        load_bundled("qwen2vl")
