"""LLaMA-Factory's own demo datasets, where they are at hand: every row is a conversation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import NotSupportedYetError

DEMO = Path(__file__).parents[4] / "shared" / "data" / "llamafactory_demo"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")


def conversations(name: str) -> list[Conversation]:
    (dataset,) = open_datasets([name], Settings(data=DataSettings(dataset_dir=str(DEMO))))
    return [dataset.conversation(dataset.ref(index)) for index in range(dataset.num_rows)]


@pytest.mark.parametrize(
    ("name", "num_rows", "roles", "num_calls", "media"),
    [
        ("identity", 91, {"user": 91, "assistant": 91}, 0, {}),
        ("alpaca_en_demo", 999, {"user": 999, "assistant": 999}, 0, {}),
        ("alpaca_zh_demo", 1000, {"user": 1000, "assistant": 1000}, 0, {}),
        ("glaive_toolcall_en_demo", 300, {"user": 746, "assistant": 957, "tool": 211}, 211, {}),
        ("glaive_toolcall_zh_demo", 300, {"user": 722, "assistant": 940, "tool": 218}, 216, {}),
        ("mllm_demo", 6, {"user": 12, "assistant": 12}, 0, {"image": 8}),
        ("mllm_demo.json", 6, {"user": 12, "assistant": 12}, 0, {"image": 8}),
        ("mllm_video_demo", 3, {"user": 3, "assistant": 3}, 0, {"video": 3}),
        ("mllm_video_demo.json", 3, {"user": 3, "assistant": 3}, 0, {"video": 3}),
        ("mllm_audio_demo", 3, {"user": 3, "assistant": 3}, 0, {"audio": 3}),
        ("mllm_video_audio_demo", 3, {"user": 3, "assistant": 3}, 0, {"video": 3, "audio": 3}),
        ("identity.json", 91, {"user": 91, "assistant": 91}, 0, {}),
        ("glaive_toolcall_en_demo.json", 300, {"user": 746, "assistant": 957, "tool": 211}, 211, {}),
        ("reason_tool_use_demo_50.jsonl", 50, {"system": 50, "user": 70, "assistant": 112, "tool": 42}, 68, {}),
    ],
)
def test_every_row_is_read_by_name_and_by_path(
    name: str, num_rows: int, roles: dict[str, int], num_calls: int, media: dict[str, int]
) -> None:
    found = conversations(name)
    messages = [message for conversation in found for message in conversation.messages]
    assert len(found) == num_rows
    assert Counter(message.role for message in messages) == roles
    assert sum(len(message.tool_calls) for message in messages) == num_calls
    assert Counter(medium.kind for conversation in found for medium in conversation.media()) == media


def test_thoughts_of_the_reasoning_demo_stand_apart() -> None:
    answers = [
        message
        for conversation in conversations("reason_tool_use_demo_50.jsonl")
        for message in conversation.messages
        if message.role == "assistant"
    ]
    assert all(answer.reasoning for answer in answers)


@pytest.mark.parametrize("name", ["dpo_en_demo", "kto_en_demo", "kto_en_demo.json", "c4_demo", "wiki_demo.txt"])
def test_data_for_other_stages_is_refused(name: str) -> None:
    with pytest.raises(NotSupportedYetError, match=r"stage: (dpo|kto|pt)"):
        conversations(name)
