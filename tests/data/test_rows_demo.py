"""LLaMA-Factory's own demo datasets, where they are at hand: every row loads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tunesmith.config.data import DataSettings
from tunesmith.data.rows import load_conversations
from tunesmith.errors import NotSupportedYetError

DEMO = Path(__file__).parents[3] / "shared" / "data" / "llamafactory_demo"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")


@pytest.mark.parametrize(
    ("name", "num_rows", "roles", "num_calls", "num_images"),
    [
        ("identity", 91, {"user": 91, "assistant": 91}, 0, 0),
        ("alpaca_en_demo", 999, {"user": 999, "assistant": 999}, 0, 0),
        ("alpaca_zh_demo", 1000, {"user": 1000, "assistant": 1000}, 0, 0),
        ("glaive_toolcall_en_demo", 300, {"user": 746, "assistant": 957, "tool": 211}, 211, 0),
        ("glaive_toolcall_zh_demo", 300, {"user": 722, "assistant": 940, "tool": 218}, 216, 0),
        ("mllm_demo", 6, {"user": 12, "assistant": 12}, 0, 8),
        ("mllm_demo.json", 6, {"user": 12, "assistant": 12}, 0, 8),
        ("identity.json", 91, {"user": 91, "assistant": 91}, 0, 0),
        ("glaive_toolcall_en_demo.json", 300, {"user": 746, "assistant": 957, "tool": 211}, 211, 0),
        ("reason_tool_use_demo_50.jsonl", 50, {"system": 50, "user": 70, "assistant": 112, "tool": 42}, 68, 0),
    ],
)
def test_every_row_loads_by_name_and_by_path(
    name: str, num_rows: int, roles: dict[str, int], num_calls: int, num_images: int
) -> None:
    rows = load_conversations([name], DataSettings(dataset_dir=str(DEMO)))
    messages = [message for conversation in rows.conversations for message in conversation.messages]
    assert (len(rows.conversations), rows.problems) == (num_rows, ())
    assert Counter(message.role for message in messages) == roles
    assert sum(len(message.tool_calls) for message in messages) == num_calls
    assert sum(1 for conversation in rows.conversations for _ in conversation.media()) == num_images


def test_thoughts_of_the_reasoning_demo_stand_apart() -> None:
    rows = load_conversations(["reason_tool_use_demo_50.jsonl"], DataSettings(dataset_dir=str(DEMO)))
    answers = [m for conversation in rows.conversations for m in conversation.messages if m.role == "assistant"]
    assert all(answer.reasoning for answer in answers)


@pytest.mark.parametrize("name", ["dpo_en_demo", "kto_en_demo", "kto_en_demo.json", "c4_demo", "wiki_demo.txt"])
def test_data_for_other_stages_is_refused(name: str) -> None:
    with pytest.raises(NotSupportedYetError, match=r"stage: (dpo|kto|pt)"):
        load_conversations([name], DataSettings(dataset_dir=str(DEMO)))


@pytest.mark.parametrize("name", ["mllm_video_demo", "mllm_audio_demo", "mllm_video_audio_demo"])
def test_video_and_audio_are_refused(name: str) -> None:
    with pytest.raises(NotSupportedYetError, match=f"dataset {name} .*video and audio comes with a later version"):
        load_conversations([name], DataSettings(dataset_dir=str(DEMO)))
