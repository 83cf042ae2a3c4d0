"""A reward model's scores as rewards."""

from __future__ import annotations

import json

import pytest

from tests.train.grpo.drawn import drawn
from tests.train.runs import run, run_settings
from tunesmith.config.grpo import GrpoSettings
from tunesmith.config.settings import Settings
from tunesmith.config.training import TrainingSettings
from tunesmith.errors import ModelError
from tunesmith.train.grpo.rewards.learned import load_learned_reward


def judged_by(folder) -> Settings:
    return Settings(grpo=GrpoSettings(reward_model=str(folder)), training=TrainingSettings(use_cpu=True))


def test_every_answer_has_a_score_even_an_empty_one(qwen2_folder, tmp_path) -> None:
    pairs = [{"messages": [{"role": "user", "content": "Well?"}], "chosen": "Yes.", "rejected": "No."}] * 4
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    run(run_settings(qwen2_folder, tmp_path / "pairs.json", tmp_path / "judge", stage="rm", max_steps=1))
    answers = [drawn(text) for text in ("Yes.", "", "No.", "Yes.")]
    yes, empty, no, again = load_learned_reward(judged_by(tmp_path / "judge")).score(answers)
    assert yes == again != no
    assert empty == min(yes, no)


def test_a_model_without_a_score_head_is_refused(qwen2_folder) -> None:
    with pytest.raises(ModelError, match="is no reward model"):
        load_learned_reward(judged_by(qwen2_folder))
