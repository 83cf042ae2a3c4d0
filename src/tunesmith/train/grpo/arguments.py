"""Tunesmith's settings in TRL's words. Imports trl, so it is imported once that is known to be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trl import GRPOConfig

from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.models.precision import choose_precision


def build_arguments(
    settings: Settings,
    *,
    folder: Path,
    total_steps: int,
    stop_ids: Iterable[int],
    template_options: Mapping[str, Any],
    use_cpu: bool,
) -> GRPOConfig:
    """GRPOConfig of a run that writes its unfinished checkpoints into `folder`.

    Tunesmith decides by itself when to log and save, in which order prompts come, and on optimiser and schedule, so
    those are switched off here. Raises UsageError for what TRL refuses.
    """
    training, grpo, precision = settings.training, settings.grpo, choose_precision(settings)
    try:
        arguments = GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=training.per_device_train_batch_size,
            gradient_accumulation_steps=training.gradient_accumulation_steps,
            max_steps=total_steps,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed,
            bf16=training.bf16,
            fp16=precision.scaler,
            use_cpu=use_cpu,
            gradient_checkpointing=False,  # the model comes with it switched on, where it is wanted
            gradient_checkpointing_kwargs={"use_reentrant": False},
            save_only_model=training.save_only_model,
            dataloader_pin_memory=False,  # batches are numbers of prompts
            num_generations=grpo.num_generations,
            max_completion_length=grpo.max_completion_length,
            steps_per_generation=grpo.steps_per_generation,
            temperature=grpo.rollout_temperature,
            top_p=grpo.rollout_top_p,
            top_k=grpo.rollout_top_k,
            beta=grpo.grpo_beta,
            epsilon=grpo.grpo_epsilon,
            epsilon_high=grpo.grpo_epsilon_high,
            num_iterations=grpo.grpo_num_iterations,
            loss_type=grpo.grpo_loss_type,
            scale_rewards=grpo.scale_rewards,
            importance_sampling_level=grpo.importance_sampling_level,
            mask_truncated_completions=grpo.mask_truncated_completions,
            chat_template_kwargs=dict(template_options),
            **_FIXED,
            **_vllm(settings, stop_ids),
        )
    except ValueError as error:
        raise UsageError(f"stage: grpo: TRL refuses these settings: {error}") from error
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs in sight of one process would mean DataParallel
    return arguments


_FIXED: dict[str, Any] = {
    "logging_strategy": "no",
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_nan_inf_filter": False,
    "report_to": [],
    "disable_tqdm": True,
    "shuffle_dataset": False,
    "remove_unused_columns": False,
    "disable_dropout": True,
    "dataloader_num_workers": 0,
}


def _vllm(settings: Settings, stop_ids: Iterable[int]) -> dict[str, Any]:
    grpo = settings.grpo
    if not grpo.use_vllm:
        return {}
    return {
        "use_vllm": True,
        "vllm_mode": grpo.vllm_mode,
        "vllm_server_base_url": grpo.vllm_server_base_url,
        "vllm_gpu_memory_utilization": grpo.vllm_gpu_memory_utilization,
        "vllm_tensor_parallel_size": grpo.vllm_tensor_parallel_size,
        "vllm_max_model_length": grpo.vllm_max_model_length,
        "generation_kwargs": {"stop_token_ids": sorted(stop_ids)},
    }
