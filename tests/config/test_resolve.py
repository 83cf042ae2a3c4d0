"""From given keys to checked values."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.config.given import given_from_mapping
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.resolve import Values, resolve
from tunesmith.config.yaml_values import parse_yaml
from tunesmith.errors import NotSupportedYetError, UsageError


def _resolve(yaml: str = "", *words: str) -> Values:
    return resolve(parse_yaml(yaml, name="run.yaml"), parse_overrides(words))


def test_values_are_given_or_default() -> None:
    values = _resolve("lora_rank: 16\n", "bf16=true")
    assert (values["lora_rank"], values["bf16"], values["seed"], values["dataset"]) == (16, True, 42, [])


def test_the_command_line_wins() -> None:
    assert _resolve("lora_rank: 16\n", "lora_rank=32", "lora_rank=64")["lora_rank"] == 64
    assert _resolve("max_samples: 10\n", "max_samples=null")["max_samples"] is None


@pytest.mark.parametrize(
    ("yaml", "key", "value"),
    [
        ("model_max_length: 4096", "cutoff_len", 4096),
        ("evaluation_strategy: no", "eval_strategy", "no"),
        ("gradient_checkpointing: true", "disable_gradient_checkpointing", False),
        ("use_lora: true", "finetuning_type", "lora"),
        ("use_lora: false", "finetuning_type", "full"),
        ("q_lora: true", "quantization_bit", 4),
        ("q_lora: false", "quantization_bit", None),
        ("tune_vision: true", "freeze_vision_tower", False),
        ("tune_llm: false", "freeze_language_model", True),
        ("lora_r: 64", "lora_rank", 64),
        ("dpo_beta: 0.2", "pref_beta", 0.2),
        ("dpo_loss: ipo", "pref_loss", "ipo"),
        ("kto_ftx: 0.1", "pref_ftx", 0.1),
        ("orpo_beta: 0.05", "pref_beta", 0.05),
        (
            r"lora_target_modules: llm\..*self_attn\.(q_proj|v_proj)",
            "lora_target",
            r"llm\..*self_attn\.(q_proj|v_proj)",
        ),
        ("work_dir: runs/a", "output_dir", "runs/a"),
        ("evaluation_inputs: [你是谁]", "sample_prompts", ["你是谁"]),
    ],
)
def test_other_names_of_a_field(yaml: str, key: str, value: Any) -> None:
    assert _resolve(yaml)[key] == value


def test_two_names_that_disagree_are_refused() -> None:
    with pytest.raises(UsageError) as raised:
        _resolve("lora_rank: 8\nlora_r: 16\n")
    assert str(raised.value) == (
        "run.yaml, line 2: lora_r: it means lora_rank, which line 1 sets to something else; keep one of the two"
    )
    assert _resolve("lora_rank: 8\nlora_r: 8\n", "lora_r=4")["lora_rank"] == 4


def test_unknown_keys_are_all_named_with_their_place_and_the_nearest_key() -> None:
    with pytest.raises(UsageError) as raised:
        _resolve("lerning_rate: 1e-4\n", "--xyzzy", "1")
    assert str(raised.value).splitlines() == [
        "run.yaml, line 1: unknown key lerning_rate; did you mean learning_rate?",
        "command line: unknown key xyzzy; remove it",
    ]


def test_sections_are_no_keys() -> None:
    with pytest.raises(UsageError, match="unknown key training; "):
        _resolve("training:\n  learning_rate: 1e-4\n")


def test_sampling_strategies_of_transformers_are_keys_here() -> None:
    assert _resolve("train_sampling_strategy: group_by_length\n")["group_by_length"] is True
    assert _resolve("train_sampling_strategy: random\n")["group_by_length"] is False
    with pytest.raises(UsageError, match="train_sampling_strategy is 'sequential'; expected random or group_by_length"):
        _resolve("train_sampling_strategy: sequential\n")


def test_wrong_values_are_all_named_with_what_is_expected() -> None:
    with pytest.raises(UsageError) as raised:
        _resolve("lora_rank: eight\nbf16: maybe\nuse_lora: 3\n", "overlong=cut")
    assert str(raised.value).splitlines() == [
        "run.yaml, line 3: use_lora is 3; expected true or false",
        "run.yaml, line 1: lora_rank is 'eight'; expected a whole number above 0",
        "run.yaml, line 2: bf16 is 'maybe'; expected true or false",
        "command line: overlong is 'cut'; expected one of truncate, drop, error",
    ]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("use_galore: true", "run.yaml, line 1: use_galore=true is not supported yet; "),
        ("stage: ppo", "run.yaml, line 1: stage=ppo is not supported yet; use grpo"),
        ("infer_backend: vllm", "run.yaml, line 1: infer_backend=vllm is not supported yet; use huggingface"),
        ("do_predict: true", "run.yaml, line 1: do_predict=true is not supported yet; "),
        ("reward_model_type: api", "run.yaml, line 1: reward_model_type=api is not supported yet; "),
    ],
)
def test_a_part_that_is_not_there_is_refused_when_used(yaml: str, message: str) -> None:
    with pytest.raises(NotSupportedYetError) as raised:
        _resolve(yaml)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("word", ["use_galore=False", "deepspeed=null", "stage=sft", "pref_beta=0.1", "fsdp=none"])
def test_a_part_that_is_not_there_may_be_switched_off(word: str) -> None:
    assert _resolve("", word).notes == ()


def test_keys_that_change_nothing_say_what_happens_instead() -> None:
    assert _resolve("past_index: 3\nplot_loss: true\nuse_lora: true\n").notes == (
        "use_lora: true means finetuning_type lora, false means full",
        "past_index: it has no meaning for causal language models",
        "plot_loss: training_loss.png is always written",
    )


@pytest.mark.parametrize("key", ["hf_hub_token", "swanlab_lark_secret", "push_to_hub_token", "om_hub_token"])
def test_a_secret_is_in_no_message(key: str) -> None:
    message = ""
    try:
        resolve(given_from_mapping({key: "hf_private", "seed": "x"}, place="run.yaml"), [])
    except UsageError as error:
        message = str(error)
    assert "seed is 'x'" in message
    assert "hf_private" not in message
