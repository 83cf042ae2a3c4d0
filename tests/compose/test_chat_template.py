from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TEXT_KINDS, tiny_folder
from tunesmith.chat.template import ChatTemplate, TemplateRefusalError
from tunesmith.compose.chat_template import with_images
from tunesmith.config.model import MediaSettings
from tunesmith.models.preprocessing.processor import read_preprocessor

OWN = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"


def render(content: Any, *, own: str | None = OWN, **options: Any) -> str:
    template = ChatTemplate(with_images(own, image_token="<image>"), special_tokens={"eos_token": "</s>"})
    return template.render([{"role": "user", "content": content}], **options)


def parts(*given: str) -> list[dict[str, str]]:
    return [{"type": "image"} if part == "image" else {"type": "text", "text": part} for part in given]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (["image", "What?"], "<image>\nWhat?"),
        (["image", "\nWhat?"], "<image>\nWhat?"),
        (["What?", "image"], "What?\n<image>"),
        (["What?\n", "image"], "What?\n<image>"),
        (["Is ", "image", " in ", "image", "?"], "Is \n<image>\n in \n<image>\n?"),
        (["image", "image"], "<image>\n<image>"),
        (["image"], "<image>"),
        (["a", "b"], "ab"),
    ],
    ids=str,
)
def test_a_picture_stands_on_a_line_of_its_own(content: list[str], expected: str) -> None:
    assert render(parts(*content)) == f"[user]{expected}"


def test_other_kinds_of_parts_are_refused() -> None:
    with pytest.raises(TemplateRefusalError, match="no part of type video"):
        render([{"type": "video"}])


@pytest.mark.parametrize("start", ["", "\n", "  \n", "{% if true %}\n", "\n  {% if true %}x", "{{- 'y' }}"])
def test_the_template_begins_as_it_does_alone(start: str) -> None:
    own = start + OWN + ("{% endif %}" if "if" in start else "")
    alone = ChatTemplate(own).render([{"role": "user", "content": "a"}])
    assert render("a", own=own) == alone


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_text_is_written_as_before_byte_for_byte(kind: str, tmp_path: Path) -> None:
    tokenizer = read_preprocessor(tiny_folder(kind, tmp_path), media=MediaSettings()).tokenizer
    own = tokenizer.chat_template
    if own is None:
        pytest.skip("no chat template of its own")
    said = [("user", " a\n"), ("assistant", "b "), ("user", "c")]
    turns = [{"role": role, "content": content} for role, content in said]
    for messages in (turns, turns[:1]):
        for prompt in (False, True):
            expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            found = tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=prompt,
                chat_template=with_images(own, image_token="<image>"),
            )
            assert found == expected


def test_base_models_get_that_of_llava_1_5() -> None:
    text = render(parts("image", "What?"), own=None, add_generation_prompt=True)
    assert text.endswith("USER: <image>\nWhat? ASSISTANT:")
    answered = ChatTemplate(with_images(None, image_token="<image>"), special_tokens={"eos_token": "</s>"}).render(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    )
    assert answered.endswith("USER: a ASSISTANT: b</s>")
