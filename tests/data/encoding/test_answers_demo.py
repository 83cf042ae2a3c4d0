"""LLaMA-Factory's demo rows with two answers, where they are at hand: both of every row are transformers' own."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tunesmith.chat.bundled import load_bundled
from tunesmith.config.data import DataSettings
from tunesmith.config.model import MediaSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.examples import Examples
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

SHARED = Path(__file__).parents[4] / "shared"
DEMO, QWEN = SHARED / "data" / "llamafactory_demo", SHARED / "tokenizers" / "qwen"

pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="the demo datasets are not in ../shared/data")

PreprocessorOf = Callable[[str], Preprocessor]
Messages = list[dict[str, str]]

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


@cache
def read_qwen() -> Preprocessor:
    return read_preprocessor(QWEN, media=MediaSettings())


def qwen(preprocessor_of: PreprocessorOf) -> tuple[Preprocessor, str]:
    """The published vocabulary of 151,643 tokens, with a bundled template."""
    if not QWEN.is_dir():
        pytest.skip("the tokenizer is not in ../shared/tokenizers")
    return read_qwen(), load_bundled("qwen")


def tiny(preprocessor_of: PreprocessorOf) -> tuple[Preprocessor, str]:
    preprocessor = preprocessor_of("qwen2")
    return preprocessor, preprocessor.chat_template or ""


def pair_of(rows: list[dict[str, Any]], index: int) -> tuple[Messages, Messages]:
    """The two rows of a pair, as messages."""
    row = rows[index]
    prompt = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    good, bad = ({"role": "assistant", "content": row[name]["value"]} for name in ("chosen", "rejected"))
    return [*prompt, good], [*prompt, bad]


def judged_of(rows: list[dict[str, Any]], index: int) -> tuple[Messages, Messages]:
    """A row, and its prompt with the answer of the row before it (before the first one comes the last)."""
    messages = rows[index]["messages"]
    return messages, [*messages[:-1], rows[index - 1]["messages"][-1]]


def encode_all(preprocessor: Preprocessor, name: str, *, stage: str, template: str | None) -> list[Encoded]:
    settings = Settings(
        data=DataSettings(cutoff_len=100_000, dataset_dir=str(DEMO), template=template),
        training=TrainingSettings(stage=stage),
    )
    datasets = open_datasets([name], settings)
    rows = settings.training.rows
    built = build_template(preprocessor, settings.data, rows)
    examples = Examples(datasets, Encoder(preprocessor, built, settings.data, rows))
    outcomes = examples.outcomes([datasets[0].ref(index) for index in range(datasets[0].num_rows)])
    return [outcome.encoded for outcome in outcomes if outcome.encoded is not None]


@pytest.mark.parametrize(("tokenizer", "template", "step"), [(tiny, None, 5), (qwen, "qwen", 1)])
@pytest.mark.parametrize(
    ("name", "stage", "read"),
    [("dpo_en_demo", "dpo", pair_of), ("dpo_zh_demo", "rm", pair_of), ("kto_en_demo", "kto", judged_of)],
)
def test_every_row_is_transformers_own(
    name: str,
    stage: str,
    read: Callable[[Any, int], tuple[Messages, Messages]],
    tokenizer: Callable[[PreprocessorOf], tuple[Preprocessor, str]],
    template: str | None,
    step: int,
    preprocessor_of: PreprocessorOf,
) -> None:
    preprocessor, source = tokenizer(preprocessor_of)
    rows = json.loads((DEMO / f"{name}.json").read_text(encoding="utf-8"))
    found = encode_all(preprocessor, name, stage=stage, template=template)
    assert len(found) == len(rows) == 300
    for index in range(0, len(rows), step):
        for number, messages in enumerate(read(rows, index)):
            own = preprocessor.tokenizer.apply_chat_template(messages, chat_template=source, return_dict=False)
            assert found[index].answer(number).input_ids.tolist() == own
    if stage == "kto":
        assert [encoded.verdict for encoded in found] == [row["label"] for row in rows]
