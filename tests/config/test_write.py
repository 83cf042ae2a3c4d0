"""Settings as run.yaml holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.config.checks import notes
from tunesmith.config.fields import FIELDS
from tunesmith.config.given import given_from_mapping
from tunesmith.config.read import load_settings, load_settings_from
from tunesmith.config.resolve import resolve
from tunesmith.config.settings import Settings
from tunesmith.config.write import flatten, render_yaml

SOME = {
    "model_name_or_path": "base",
    "dataset": "a,b",
    "learning_rate": 1e-4,
    "eval_strategy": "no",
    "save_strategy": "no",
    "model_revision": "1.10",
    "resume_from_checkpoint": True,
    "quantization_bit": 4,
    "lr_scheduler_kwargs": {"num_cycles": 0.5},
    "lora_target": r"llm\..*layers\.\d+\.(q_proj|k_proj)",
    "sample_prompts": ["你是谁", {"prompt": "hi", "images": ["a.png"]}],
    "run_name": "no",
    "report_to": "tensorboard,wandb",
}


@pytest.mark.parametrize("settings", [Settings(), load_settings_from(SOME)], ids=["defaults", "given"])
def test_what_is_written_loads_back(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "run.yaml").write_text(render_yaml(settings), encoding="utf-8")
    assert load_settings(tmp_path / "run.yaml") == settings
    assert load_settings_from(flatten(settings)) == settings


def test_every_key_but_the_secrets_is_written() -> None:
    secrets = {key for key, row in FIELDS.items() if row.kind == "secret"}
    assert secrets == {"hf_hub_token", "ms_hub_token", "swanlab_api_key"}
    assert set(flatten(Settings())) == set(FIELDS) - secrets


def test_a_secret_is_never_written() -> None:
    settings = load_settings_from({"hf_hub_token": "hf_private", "swanlab_api_key": "sk-private"})
    assert "private" not in render_yaml(settings)


def test_defaults_that_are_read_back_say_nothing() -> None:
    values = resolve(given_from_mapping(flatten(Settings()), place="run.yaml"), [])
    assert (values.notes, list(notes(values))) == ((), [])
