"""How templates frame an answer."""

from __future__ import annotations

import pytest

from tests.chat.samples import SPECIAL_TOKENS, bundled, own
from tunesmith.chat.frame import header_cuts, leading_tokens, turn_frame
from tunesmith.chat.template import ChatTemplate


@pytest.mark.parametrize(
    ("name", "header", "end"),
    [
        ("qwen3", "<|im_start|>assistant\n", "<|im_end|>"),
        ("minicpm_v_4_6", "<|im_start|>assistant\n<think>\n\n</think>\n\n", "<|im_end|>"),
        ("deepseek_r1", "<｜Assistant｜><think>\n", "<｜end▁of▁sentence｜>"),
        ("phi3", "<|assistant|>\n", "<|end|>"),
        ("llama2", "", "</s>"),
        ("glm4", "<|assistant|>\n", "</s>"),
    ],
)
def test_header_and_end(name: str, header: str, end: str) -> None:
    frame = turn_frame(own(name))
    assert (frame.header, frame.ends[0]) == (header, end)


def test_only_templates_without_an_end_let_the_next_header_end_a_turn() -> None:
    assert turn_frame(own("glm4")).next_header_ends and turn_frame(bundled("glm4")).next_header_ends
    assert not turn_frame(own("llava")).next_header_ends and not turn_frame(own("qwen3")).next_header_ends


def test_end_tokens_that_stand_together_are_one_end() -> None:
    """Cohere's Command R7B closes the response and the turn; only the turn's token stops generation."""
    source = "{% for m in messages %}<|START|>{{ m.content }}<|END_RESPONSE|><|END|>{% endfor %}"
    assert turn_frame(ChatTemplate(source)).ends == ("<|END_RESPONSE|><|END|>",)


def test_leading_tokens() -> None:
    template = ChatTemplate("", special_tokens=SPECIAL_TOKENS)
    assert leading_tokens(" </s><|user|>\nhi", template=template) == ["</s>", "<|user|>"]
    assert leading_tokens("[/INST] x", template=template) == ["[/INST]"]
    assert leading_tokens("text", template=template) == []


def test_header_cuts_leave_out_what_opens_thoughts() -> None:
    assert header_cuts("<|a|>assistant\n<think>\n") == ("<|a|>assistant\n<think>\n", "<|a|>assistant\n")
    assert header_cuts("") == ()
