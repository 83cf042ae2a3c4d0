"""The environment and `ChatTemplate.render`: the same text as transformers gives, and no way out of the sandbox."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from tests.chat.samples import ALL_NAMES, SPECIAL_TOKENS, WEATHER, any_template
from tunesmith.chat.environment import compile_template
from tunesmith.chat.template import ChatTemplate, TemplateMessage, TemplateRefusalError
from tunesmith.errors import UsageError

WRAPPED = {"type": "function", "function": WEATHER}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {"city": "北京 <b>"}}}


def _text(role: str, content: str) -> TemplateMessage:
    return {"role": role, "content": content}


def _part(role: str, content: str, *media: str) -> TemplateMessage:
    parts: list[dict[str, Any]] = [{"type": kind} for kind in media]
    return {"role": role, "content": [*parts, {"type": "text", "text": content}]}


CASES: dict[str, tuple[list[TemplateMessage], dict[str, Any]]] = {
    "chat": (
        [_text("user", " 你好 🙂 & <b>\n"), _text("assistant", "Hi\n"), _text("user", "two"), _text("assistant", "b")],
        {},
    ),
    "prompt": ([_text("user", "hi"), _text("assistant", "Hi"), _text("user", "two")], {"add_generation_prompt": True}),
    "system": ([_text("system", "Be kind. "), _text("user", "hi"), _text("assistant", "Hi")], {}),
    "empty system": ([_text("system", ""), _text("user", "hi"), _text("assistant", "Hi")], {}),
    "thoughts": (
        [
            _text("user", "hi"),
            _text("assistant", "<think>\nold\n</think>\n\nHi"),
            _text("user", "two"),
            _text("assistant", "Ho") | {"reasoning_content": "new"},
        ],
        {},
    ),
    "tools": (
        [
            _text("user", "rain?"),
            _text("assistant", "") | {"tool_calls": [CALL]},
            _text("tool", "no") | {"tool_call_id": "abcdefghi"},
            _text("assistant", "No"),
        ],
        {"tools": [WRAPPED]},
    ),
    "parts": ([_part("user", "what?"), _part("assistant", "A cat"), _part("user", "and?")], {}),
    "image": ([_part("user", "what?", "image"), _part("assistant", "A cat"), _part("user", "and?", "image")], {}),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    model = tokenizers.models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model), **SPECIAL_TOKENS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_text_equals_apply_chat_template(name: str, case: str, tokenizer: Any) -> None:
    template = any_template(name)
    messages, options = CASES[case]
    # Newer transformers fill gpt-oss's name for thoughts by themselves; `chat.content` always does.
    messages = [{"thinking": m["reasoning_content"], **m} if "reasoning_content" in m else m for m in messages]
    try:
        expected = tokenizer.apply_chat_template(messages, chat_template=template.source, tokenize=False, **options)
    except (jinja2.TemplateError, TypeError):
        with pytest.raises(TemplateRefusalError, match=r"refuses|cannot render"):
            template.render(messages, **options)
        return
    assert template.render(messages, **options) == expected


def test_options_reach_the_template() -> None:
    template = ChatTemplate(
        "{{ enable_thinking }} {{ bos_token }}", special_tokens=SPECIAL_TOKENS, options={"enable_thinking": False}
    )
    assert template.render([{"role": "user", "content": "x"}]) == "False <s>"


def test_generation_tag_writes_its_body() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}!{% endgeneration %}{% endfor %}"
    assert ChatTemplate(source).render([{"role": "user", "content": "x"}]) == "x!"


def test_same_source_is_compiled_once() -> None:
    assert compile_template("{{ 1 }}") is compile_template("{{ 1 }}")


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ dict.__class__.__mro__ }}",
        "{% set n = namespace(_x=1) %}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    ],
)
def test_templates_are_sandboxed(attack: str) -> None:
    with pytest.raises(TemplateRefusalError):
        ChatTemplate(attack).render([{"role": "user", "content": "x"}])


def test_refusal_names_the_template_and_its_reason() -> None:
    template = ChatTemplate("{{ raise_exception('only users') }}", name="strict")
    with pytest.raises(TemplateRefusalError, match="strict refuses this conversation: only users"):
        template.render([])


def test_broken_source_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not valid Jinja"):
        ChatTemplate("{% if %}").render([])
