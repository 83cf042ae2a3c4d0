"""Settings of a command line."""

from __future__ import annotations

import pytest

from tunesmith.config.overrides import hide_secrets, parse_overrides
from tunesmith.errors import UsageError


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["learning_rate=1e-4"], {"learning_rate": 1e-4}),
        (["--learning_rate", "1e-4"], {"learning_rate": 1e-4}),
        (["--learning-rate=1e-4"], {"learning_rate": 1e-4}),
        (["--do_train", "True", "--packing", "False"], {"do_train": True, "packing": False}),
        (["--bf16", "--seed", "1"], {"bf16": True, "seed": 1}),
        (["--bf16", "lora_rank=8"], {"bf16": True, "lora_rank": 8}),
        (["--default_system", "answer=short"], {"default_system": "answer=short"}),
        (["--max_steps", "-1"], {"max_steps": -1}),
        (["--report_to", "tensorboard", "wandb"], {"report_to": ["tensorboard", "wandb"]}),
        (["deepspeed=null", "max_samples="], {"deepspeed": None, "max_samples": None}),
        (["default_system=a=b c"], {"default_system": "a=b c"}),
        (["sample_prompts=[who are you, 你是谁]"], {"sample_prompts": ["who are you", "你是谁"]}),
        ([], {}),
    ],
)
def test_every_form_of_a_setting(words: list[str], settings: dict[str, object]) -> None:
    assert {given.key: given.value for given in parse_overrides(words)} == settings


def test_text_keeps_its_characters() -> None:
    [given] = parse_overrides(["model_revision=1.10"])
    assert (given.value, given.text, given.place) == (1.1, "1.10", "command line")


def test_a_stray_word_is_named() -> None:
    with pytest.raises(UsageError, match="command line: 'lora' is neither key=value nor --key value"):
        parse_overrides(["lora_rank=8", "lora"])


def test_secrets_of_a_command_line_are_hidden() -> None:
    words = ["run.yaml", "--hf_hub_token", "hf_abc", "swanlab_api_key=sk", "--hub-token=hf_x", "seed=1"]
    assert hide_secrets(words) == [
        "run.yaml",
        "--hf_hub_token",
        "***",
        "swanlab_api_key=***",
        "--hub-token=***",
        "seed=1",
    ]
