"""Conversations scored by what a run of stage rm left: text and pictures, adapters, whole models, merged exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data.conversations import assistant, conversation, picture, user
from tests.models.given import settings_for
from tests.train.reward_runs import colour_pairs, kind_pairs, reward_run
from tunesmith.chat.message import Conversation
from tunesmith.cli.main import main
from tunesmith.data.problem import RowError
from tunesmith.errors import ModelError, UsageError
from tunesmith.infer.chat import ChatRequest, open_session
from tunesmith.infer.reward import RewardModel

ASKED = [
    conversation(user("How are you?"), assistant("Fine.")),
    conversation(user("你好"), assistant("A longer answer than the first one, with 3 numbers: 1, 2, 3.")),
    conversation(user("a"), assistant("b"), user("c"), assistant("d")),
]


@pytest.fixture(scope="module", params=["lora", "full"])
def trained(request: pytest.FixtureRequest, qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp(request.param)
    rows = kind_pairs(folder, count=8)
    reward_run(qwen2_folder, rows, folder / "run", finetuning_type=request.param, num_train_epochs=1)
    return folder / "run"


def test_scores_depend_on_no_other_conversation(trained: Path) -> None:
    model = RewardModel.load(trained, use_cpu=True)
    together = model.scores(ASKED)
    assert together == pytest.approx([model.scores([one])[0] for one in ASKED], abs=1e-6)
    assert len(set(together)) == 3
    assert model.scores([]) == []


def test_an_export_scores_as_the_run_does(trained: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    assert main(["export", str(trained), f"export_dir={merged}", "use_cpu=true"]) == 0

    scores = RewardModel.load(merged, use_cpu=True).scores(ASKED)
    assert scores == pytest.approx(RewardModel.load(trained, use_cpu=True).scores(ASKED), abs=1e-6)

    from transformers import AutoModelForSequenceClassification

    theirs = AutoModelForSequenceClassification.from_pretrained(merged).eval()
    encoder = RewardModel.load(merged, use_cpu=True).encoder
    for one, score in zip(ASKED, scores, strict=True):
        ids = torch.from_numpy(encoder.encode(one).input_ids).long()[None]
        with torch.no_grad():
            assert theirs(input_ids=ids).logits.item() == pytest.approx(score, abs=1e-6)


def test_a_base_with_adapters_by_name(qwen2_folder: Path, tmp_path: Path) -> None:
    reward_run(qwen2_folder, kind_pairs(tmp_path, count=8), tmp_path / "run", num_train_epochs=1)
    model = RewardModel.load(qwen2_folder, adapters=[str(tmp_path / "run")], use_cpu=True)
    assert model.scores(ASKED) == RewardModel.load(tmp_path / "run", use_cpu=True).scores(ASKED)


def test_pictures_are_seen(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    reward_run(qwen2_5_vl_folder, colour_pairs(tmp_path, count=4), tmp_path / "run", num_train_epochs=1)
    model = RewardModel.load(tmp_path / "run", use_cpu=True)

    def about(seed: int) -> Conversation:
        return conversation(user(picture(56, 56, seed=seed), "What is it?"), assistant("Noise."))

    first, other, again = model.scores([about(0), about(1), about(0)])
    assert first == pytest.approx(again, abs=1e-6)
    assert first != pytest.approx(other, abs=1e-6)


def test_models_that_do_not_score(qwen2_folder: Path) -> None:
    with pytest.raises(ModelError, match="is no reward model: it has no score head, which stage: rm trains"):
        RewardModel.load(qwen2_folder, use_cpu=True)
    assert settings_for(qwen2_folder).training.stage == "sft"


def test_conversations_that_cannot_be_scored(trained: Path) -> None:
    with pytest.raises(RowError):
        RewardModel.load(trained, use_cpu=True).scores([conversation(user("no answer"))])


def test_chat_says_that_a_reward_model_does_not_answer(trained: Path) -> None:
    with pytest.raises(UsageError, match="is a reward model: it scores answers and gives none"):
        open_session(ChatRequest(trained, ["use_cpu=true"], prompt="Hello"))
