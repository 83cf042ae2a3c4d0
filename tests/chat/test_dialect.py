"""What templates are found to understand."""

from __future__ import annotations

import pytest

from tests.chat.samples import bundled, own
from tunesmith.chat.dialect import CallStyle, call_style, places_media, reads_reasoning, takes_lists_only
from tunesmith.chat.template import ChatTemplate


def test_text_goes_as_a_list_only_where_a_string_does_not_work() -> None:
    assert takes_lists_only(own("llava"), "user") and takes_lists_only(own("smolvlm"), "assistant")
    assert not takes_lists_only(own("qwen2_vl"), "user")
    assert not takes_lists_only(own("gemma3"), "system")


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("qwen3", CallStyle()),
        ("mistral_nemo", CallStyle(ids=True)),
        ("deepseek_r1", CallStyle(null_content=True, json_arguments=True)),
        ("phi4", None),
    ],
)
def test_call_style(name: str, style: CallStyle | None) -> None:
    assert call_style(own(name)) == style


def test_reasoning_field() -> None:
    assert [name for name in ("qwen3", "channels", "qwen2_5", "deepseek_r1") if reads_reasoning(own(name))] == [
        "qwen3",
        "channels",
    ]


def test_media_places() -> None:
    assert places_media(own("qwen2_vl"), "user", "video")
    assert places_media(own("smolvlm"), "user", "image")
    assert not places_media(own("smolvlm"), "user", "video")
    assert not places_media(bundled("qwen2_vl"), "user", "audio")
    assert not places_media(own("qwen2_5"), "user", "image")


def test_a_list_printed_as_python_is_no_place() -> None:
    printing = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert not places_media(printing, "user", "image")
