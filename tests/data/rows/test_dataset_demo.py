"""LLaMA-Factory's own demo datasets, where they are at hand: every row can be used, by its own stage alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.config.settings import Settings
from tunesmith.config.stages import Stage
from tunesmith.config.training import TrainingSettings
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import UsageError

DEMO = Path(__file__).parents[4] / "shared" / "data" / "llamafactory_demo"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")


def conversations(name: str, *, stage: Stage = "sft") -> list[Conversation]:
    settings = Settings(data=DataSettings(dataset_dir=str(DEMO)), training=TrainingSettings(stage=stage))
    (dataset,) = open_datasets([name], settings)
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


@pytest.mark.parametrize("name", ["dpo_en_demo", "dpo_zh_demo", "dpo_en_demo.json", "dpo_zh_demo.json"])
def test_every_pair_has_two_answers(name: str) -> None:
    found = conversations(name, stage="dpo")
    assert len(found) == 300
    assert all(row.messages[-2].role == "user" and row.messages[-1].role == "assistant" for row in found)
    answers = [(row.messages[-1].text, row.other_answer.text) for row in found if row.other_answer]
    assert len(answers) == 300 and all(chosen != rejected for chosen, rejected in answers)


def test_by_name_and_by_path_give_the_same_pairs() -> None:
    by_name, by_path = (conversations(name, stage="dpo") for name in ("dpo_en_demo", "dpo_en_demo.json"))
    assert by_name == by_path
    start = "That sounds like a fun and engaging idea!"
    assert by_name[0].messages[-1].text.startswith(start) and by_name[0].messages[0].text.startswith("Hi! I'd like to")


@pytest.mark.parametrize("name", ["kto_en_demo", "kto_en_demo.json"])
def test_every_judged_answer_is_compared_with_the_one_before(name: str) -> None:
    found = conversations(name, stage="kto")
    assert Counter(row.verdict for row in found) == {True: 150, False: 150}
    answers = [row.messages[-1] for row in found]
    assert [row.other_answer for row in found] == [answers[-1], *answers[:-1]]


@pytest.mark.parametrize(
    ("name", "num_rows"), [("c4_demo", 300), ("c4_demo.jsonl", 300), ("wiki_demo", 30), ("wiki_demo.txt", 30)]
)
def test_every_document_is_one_message(name: str, num_rows: int) -> None:
    found = conversations(name, stage="pt")
    assert len(found) == num_rows
    assert all(len(row.messages) == 1 and row.messages[0].role == "assistant" for row in found)
    assert all(row.messages[0].text.strip() for row in found)


@pytest.mark.parametrize("name", ["identity", "identity.json", "mllm_demo", "glaive_toolcall_en_demo"])
def test_conversations_are_prompts_with_reference_answers(name: str) -> None:
    assert conversations(name, stage="grpo") == conversations(name)


_FOR: dict[Stage, set[str]] = {
    "sft": {"identity", "identity.json", "mllm_demo"},
    "dpo": {"dpo_en_demo", "dpo_zh_demo.json"},
    "rm": {"dpo_en_demo", "dpo_zh_demo.json"},
    "kto": {"kto_en_demo", "kto_en_demo.json"},
    "pt": {"c4_demo", "wiki_demo.txt"},
    "grpo": {"identity", "identity.json", "mllm_demo"},
}
_ALL = sorted(set().union(*_FOR.values()))


@pytest.mark.parametrize(
    ("name", "stage"), [(name, stage) for stage, names in _FOR.items() for name in _ALL if name not in names]
)
def test_data_for_another_stage_ends_in_one_message(name: str, stage: Stage) -> None:
    with pytest.raises(UsageError) as caught:
        conversations(name, stage=stage)
    assert re.fullmatch(rf"dataset {name} holds .+; stage: {stage} needs .+\. Set stage: .+", str(caught.value))
    own = next(own for own, names in _FOR.items() if name in names)
    assert f"Set stage: {own}" in str(caught.value)
