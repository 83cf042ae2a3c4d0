"""What stage grpo needs, and what it cannot do: said before anything is loaded.

Pure functions from values to messages, as in `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.config.fields import FIELDS
from tunesmith.config.resolve import Values
from tunesmith.config.reward_specs import find_wrong_specs, read_reward_funcs, read_reward_weights

_ANSWERS = "per_device_train_batch_size counts the answers of a micro-batch"
_REWARD = "the reward in metrics.jsonl is always measured on answers that are drawn anew"
_ITSELF = "grpo_beta compares with the model as the training began"
_REFUSED = {
    "packing": _ANSWERS,
    "neat_packing": _ANSWERS,
    "batch_tokens": _ANSWERS,
    "group_by_length": _ANSWERS,
    "streaming": "prompts that do not fit cutoff_len are counted before the first step",
    "torch_compile": "answers are drawn at ever new lengths",
    "neftune_noise_alpha": "noise on the embeddings would disturb the drawn answers",
    "val_size": _REWARD,
    "eval_dataset": _REWARD,
    "eval_on_start": _REWARD,
    "ref_model": _ITSELF,
    "ref_model_adapters": _ITSELF,
    "ref_model_quantization_bit": _ITSELF,
    "train_on_prompt": "only drawn answers are learned from",
}
_NO_EFFECT = {
    "mask_history": "only drawn answers are learned from",
    "loss_chunk_tokens": "TRL has a chunk size of its own",
    "dataloader_num_workers": "prompts are encoded before the training",
    "dataloader_prefetch_factor": "prompts are encoded before the training",
    "share_prefix": "TRL computes a prompt once for each answer",
    "overlong": "a prompt that does not fit cutoff_len is dropped and counted, unless it says error",
}
_OF_CHAT = {"temperature": "rollout_temperature", "top_p": "rollout_top_p", "top_k": "rollout_top_k"}
_OF_CHAT |= {"max_new_tokens": "max_completion_length"}


def check_grpo(values: Values) -> Iterator[str]:
    """Everything that does not fit stage grpo; nothing for other stages."""
    if values["stage"] != "grpo":
        return
    yield from _rewards(values)
    yield from _answers_of_a_step(values)
    yield from _refused(values)
    yield from _reference(values)
    yield from _vllm(values)


def note_grpo(values: Values) -> Iterator[str]:
    """Given keys that have no effect, or another than it seems, with or without stage grpo."""
    stage = values["stage"]
    for key in (key for key in values.given if values[key] != FIELDS[key].default):
        if stage != "grpo" and FIELDS[key].section == "grpo":
            yield f"{key}: it has no effect with stage {stage}"
        if stage == "grpo" and key in _NO_EFFECT and values[key] != "error":
            yield f"{key}: it has no effect with stage grpo; {_NO_EFFECT[key]}"
        if stage == "grpo" and key in _OF_CHAT:
            yield f"{key}: chat and sample_prompts go by it; answers to learn from go by {_OF_CHAT[key]}"


def _rewards(values: Values) -> Iterator[str]:
    where = values.where("reward_funcs")
    try:
        specs: list[str] = list(read_reward_funcs(values["reward_funcs"]))
    except (ValueError, TypeError) as error:
        yield f"{where}: {error}; expected a list, like [exact_match, format]"
        return
    if not specs and not values["reward_model"]:
        yield f"{where} is missing, and stage grpo learns from rewards; add a line like `reward_funcs: [exact_match]`"
    yield from (f"{where}: {wrong}" for wrong in find_wrong_specs(specs))
    if "reward_model" in specs and not values["reward_model"]:
        yield f"{where}: reward_model is named, and reward_model does not say which; add reward_model: FOLDER"
    yield from _weights(values, num_rewards=len(specs) + bool(values["reward_model"] and "reward_model" not in specs))
    for key in ("reward_model_adapters", "reward_model_quantization_bit"):
        if values[key] and not values["reward_model"]:
            yield f"{values.where(key)}: there is no reward_model it belongs to; add reward_model: FOLDER"


def _weights(values: Values, *, num_rewards: int) -> Iterator[str]:
    weights, where = read_reward_weights(values["reward_weights"]), values.where("reward_weights")
    if not isinstance(weights, list | tuple) or not all(map(_is_number, weights)):
        yield f"{where} is {values['reward_weights']!r}; expected numbers, like 1,0.5"
    elif weights and num_rewards and len(weights) != num_rewards:
        yield f"{where} has {len(weights)} numbers for {num_rewards} rewards; give each one"


def _answers_of_a_step(values: Values) -> Iterator[str]:
    size, group = values["per_device_train_batch_size"], values["num_generations"]
    at_a_time = values["steps_per_generation"] or values["gradient_accumulation_steps"]
    key = "steps_per_generation" if values["steps_per_generation"] else "gradient_accumulation_steps"
    if size * at_a_time % group:
        yield (
            f"{values.where('num_generations', 'per_device_train_batch_size')} is {group}, and {size * at_a_time} "
            f"answers are drawn at a time (per_device_train_batch_size {size} x {key} {at_a_time}); every prompt gets "
            f"all of its answers at a time, so make that a multiple, like per_device_train_batch_size: {group}"
        )
    accumulated = values["gradient_accumulation_steps"]
    if values["steps_per_generation"] and at_a_time % accumulated:
        yield (
            f"{values.where('steps_per_generation')} is {at_a_time}; expected a multiple of "
            f"gradient_accumulation_steps {accumulated}, so that whole steps learn from the same answers"
        )


def _refused(values: Values) -> Iterator[str]:
    for key, reason in _REFUSED.items():
        if values[key] and values[key] != FIELDS[key].default:
            yield f"{values.where(key)}: stage grpo cannot do it ({reason}); leave it out"
    if values["precompute_ref"] is True:
        yield f"{values.where('precompute_ref')}: answers are not known before they are drawn; leave it out"
    if not values["do_train"]:
        yield f"{values.where('do_train')}: stage grpo has nothing to evaluate without training; leave it out"


def _reference(values: Values) -> Iterator[str]:
    """A whole model's reference is read by TRL from where the model came from."""
    if not values["grpo_beta"] or values["finetuning_type"] == "lora":
        return
    for key in ("train_from_scratch", "resize_vocab"):
        if values[key]:
            yield (
                f"{values.where('grpo_beta')}: the model to compare with is read from model_name_or_path again, and "
                f"{key} makes another model of it; use finetuning_type: lora, or leave grpo_beta out"
            )


def _vllm(values: Values) -> Iterator[str]:
    if values["use_vllm"] and values["use_cpu"]:
        yield f"{values.where('use_vllm')}: vLLM draws answers on GPUs, and use_cpu is on; keep one"
    if values["use_vllm"] and values["vllm_mode"] == "server" and not values["vllm_server_base_url"]:
        yield f"{values.where('vllm_mode')}=server: add vllm_server_base_url: http://HOST:PORT"


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)
