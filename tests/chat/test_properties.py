"""Random conversations over every template, against an oracle that knows how each template treats an answer."""

from __future__ import annotations

import random

import pytest

from tests.chat.samples import ALL_NAMES, any_template, literal, supervised, talk
from tunesmith.chat.content import template_messages
from tunesmith.chat.dialect import takes_lists_only
from tunesmith.chat.message import Conversation
from tunesmith.chat.render import Rendered, render_conversation, render_prompt

WORDS = (
    "hello", "你好", "🙂", "\n", " ", "\n\n", "  ", "<|im_end|>", "<|im_start|>assistant\n", "<|im_start|>user\n",
    "assistant", "ASSISTANT:", "USER: ", "[INST]", "[/INST]", "</s>", "<s>", "<end_of_turn>", "<|image_pad|>",
    "<image>", "<tool_response>", "</tool_response>", "<tool_call>", "{{ bos_token }}", "{% if %}", "<|eot_id|>",
    "### Response:\n", "\U00100000", "\u3000", "é", "<｜User｜>", "\\n", '"', "<|user|>", "Human: ", "0",
)  # fmt: skip
THOUGHT_WORDS = (*WORDS, "<think>", "</think>", "<think>\n", "\n</think>\n\n")

STRIPPED = {"own:gemma", "own:gemma3", "own:llama3_1", "own:llama2", "own:minicpm_v_4_6"}
SPLIT_AT_THOUGHTS = {"own:qwen3", "own:minicpm_v_4_6", "own:deepseek_r1"}
SPLIT_AT_THOUGHTS |= {f"bundled:{name}" for name in ("qwen3", "qwen3_vl", "qwen3_omni", "keye_vl", "mimo", "mimo_vl")}
SPLIT_AT_THOUGHTS |= {"bundled:deepseekr1"}
WRITTEN_BEFORE = {"own:channels": "<|channel|>final<|message|>"}  # what the model writes before its answer
NO_HEADER = {"bundled:empty", "bundled:fewshot"}  # nothing stands between a question and its answer


def _text(rng: random.Random, words: tuple[str, ...]) -> str:
    text = "".join(rng.choice(words) for _ in range(rng.randint(1, 6)))
    return text if text.strip() else text + "x"


def _conversation(rng: random.Random, words: tuple[str, ...], *, system: bool) -> Conversation:
    texts = [_text(rng, words if index % 2 else WORDS) for index in range(2 * rng.randint(1, 3))]
    return talk(*texts, system=_text(rng, WORDS) if system else None)


def _takes_system(name: str) -> bool:
    return name not in {"own:gemma", "own:mistral_nemo"}


def _check_against_oracle(name: str, conversation: Conversation, rendered: Rendered) -> None:
    answers = [m.text for m in conversation.messages if m.role == "assistant"]
    texts = supervised(rendered)
    assert len(texts) == len(answers)
    for text, answer in zip(texts, answers, strict=True):
        written = text.removeprefix(WRITTEN_BEFORE.get(name, ""))
        core = answer.strip()
        assert written.lstrip().startswith(core)
        end = written.lstrip()[len(core) :]
        assert len(end.split()) <= 1, "more than an end token behind the answer"
        if name not in STRIPPED | SPLIT_AT_THOUGHTS:
            # The row's own whitespace is part of the answer.
            assert answer.rstrip() in written
            assert not end or end.startswith(answer[len(answer.rstrip()) :])


@pytest.mark.parametrize("name", ALL_NAMES)
def test_answers_of_random_conversations(name: str) -> None:
    rng = random.Random(name)
    template = any_template(name)
    for number in range(12):
        conversation = _conversation(rng, WORDS, system=_takes_system(name) and number % 3 == 0)
        rendered = render_conversation(template, conversation)
        plain = template.render(template_messages(conversation, template=template))
        assert rendered.text in (plain, plain + "</s>")
        if name not in NO_HEADER:
            _check_against_oracle(name, conversation, rendered)
        cores = [m.text.strip() for m in conversation.messages]
        assert "".join(literal(rendered)) == "".join(cores)


@pytest.mark.parametrize("name", sorted(set(ALL_NAMES) - SPLIT_AT_THOUGHTS - NO_HEADER))
def test_answers_with_thought_tags_where_the_template_keeps_them(name: str) -> None:
    rng = random.Random(name)
    template = any_template(name)
    for _ in range(12):
        conversation = _conversation(rng, THOUGHT_WORDS, system=False)
        _check_against_oracle(name, conversation, render_conversation(template, conversation))


@pytest.mark.parametrize("name", ALL_NAMES)
def test_prompts_of_random_conversations(name: str) -> None:
    rng = random.Random(name)
    template = any_template(name)
    conversation = _conversation(rng, WORDS, system=False)
    question = Conversation(conversation.messages[:-1])
    prompt = render_prompt(template, question)
    messages = template_messages(question, template=template)
    assert prompt.text == template.render(messages, add_generation_prompt=True)
    assert prompt.supervised == ()
    assert "".join(literal(prompt)) == "".join(m.text.strip() for m in question.messages)


def test_own_templates_of_processors_take_lists() -> None:
    lists = {name for name in ALL_NAMES if takes_lists_only(any_template(name), "user")}
    assert lists == {"own:llava", "own:smolvlm"}
