"""What stage grpo needs and cannot do is said before anything is loaded."""

from __future__ import annotations

import pytest

from tunesmith.config.checks import notes
from tunesmith.config.overrides import parse_overrides
from tunesmith.config.read import load_settings_from
from tunesmith.config.resolve import resolve
from tunesmith.config.write import flatten
from tunesmith.errors import NotSupportedYetError, UsageError

ENOUGH = {
    "model_name_or_path": "tiny",
    "dataset": "rows.jsonl",
    "output_dir": "runs/a",
    "stage": "grpo",
    "reward_funcs": ["exact_match", {"regex": "a,b"}],
    "per_device_train_batch_size": 8,
}


def load(**changes):
    return load_settings_from({**ENOUGH, **changes}, verb="train")


def test_the_least_that_trains() -> None:
    assert load(reward_weights="1,0.5").grpo.reward_weights == (1.0, 0.5)
    assert load(reward_funcs=None, reward_model="rm").grpo.reward_model == "rm"


def test_settings_come_back_from_the_run_folder() -> None:
    settings = load(reward_weights=[1, 2])
    assert load_settings_from(flatten(settings), verb="train") == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward_funcs": None}, r"reward_funcs is missing, and stage grpo learns from rewards"),
        ({"reward_funcs": ["exactmatch"]}, "'exactmatch' names no reward; expected exact_match, format"),
        ({"reward_funcs": ["regex: ("]}, "is no regular expression"),
        ({"reward_funcs": ["reward_model"]}, "add reward_model: FOLDER"),
        ({"reward_model_adapters": "a"}, "there is no reward_model it belongs to"),
        ({"reward_weights": "1"}, "reward_weights has 1 numbers for 2 rewards"),
        ({"reward_weights": "1,much"}, "expected numbers, like 1,0.5"),
        ({"num_generations": 6}, r"num_generations is 6, and 8 answers are drawn at a time"),
        ({"steps_per_generation": 3, "gradient_accumulation_steps": 2}, "expected a multiple of"),
        ({"packing": True}, "packing: stage grpo cannot do it"),
        ({"val_size": 0.1}, "val_size: stage grpo cannot do it"),
        ({"streaming": True, "max_steps": 3}, "streaming: stage grpo cannot do it"),
        ({"torch_compile": True}, "torch_compile: stage grpo cannot do it"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha: stage grpo cannot do it"),
        ({"ref_model": "other"}, "ref_model: stage grpo cannot do it"),
        ({"precompute_ref": True}, "answers are not known before they are drawn"),
        ({"grpo_beta": 0.1, "finetuning_type": "full", "resize_vocab": True}, "makes another model of it"),
        ({"use_vllm": True, "use_cpu": True}, "vLLM draws answers on GPUs"),
        ({"use_vllm": True, "vllm_mode": "server"}, "add vllm_server_base_url"),
    ],
)
def test_what_does_not_fit_is_named(changes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(**changes)


def test_other_stages_are_not_asked_for_rewards() -> None:
    assert load(stage="sft", reward_funcs=None, num_generations=3).training.stage == "sft"


def said_of(*words: str) -> str:
    return "\n".join(notes(resolve([], parse_overrides(words))))


def test_keys_without_effect_are_noted() -> None:
    assert "num_generations: it has no effect with stage sft" in said_of("num_generations=4")
    said = said_of("stage=grpo", "temperature=0.3", "mask_history=true", "num_generations=4")
    assert "temperature: chat and sample_prompts go by it; answers to learn from go by rollout_temperature" in said
    assert "mask_history: it has no effect with stage grpo" in said
    assert "num_generations" not in said


def test_ppo_is_refused_with_a_pointer_to_grpo() -> None:
    with pytest.raises(NotSupportedYetError, match="stage=ppo is not supported yet; use grpo, which learns from"):
        load(stage="ppo")


def test_trls_own_names_are_taken() -> None:
    grpo = load(epsilon=0.1, epsilon_high=0.3, num_iterations=2, max_completion_length=64).grpo
    assert (grpo.grpo_epsilon, grpo.grpo_epsilon_high, grpo.grpo_num_iterations) == (0.1, 0.3, 2)
