"""How long, how fast, saved and evaluated when."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tunesmith.config.section import Optional, Section, none_from_word


def _bool_or_text(value: Any) -> Any:
    value = none_from_word(value)
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    return value


class TrainingSettings(Section):
    """The loop: steps, optimiser, schedule, checkpoints."""

    stage: Literal["sft", "pt", "rm", "ppo", "dpo", "kto", "orpo", "simpo", "grpo"] = "sft"
    """sft; the others come with later parts."""
    do_train: bool = True
    do_eval: bool = False
    do_predict: bool = False
    """Not supported yet."""
    predict_with_generate: bool = False
    """Not supported yet."""
    output_dir: Annotated[str | None, Optional] = None
    """The run folder."""
    overwrite_output_dir: bool = False
    """Delete a run that stands in output_dir and start anew."""
    resume_from_checkpoint: Annotated[str | bool | None, BeforeValidator(_bool_or_text)] = None
    """A checkpoint folder, or true for the last one in output_dir."""

    per_device_train_batch_size: int = Field(1, gt=0)
    gradient_accumulation_steps: int = Field(1, gt=0)
    num_train_epochs: float = Field(3.0, gt=0)
    max_steps: int = -1
    """Above 0: the number of optimiser steps, whatever num_train_epochs says."""
    learning_rate: float = Field(5e-5, ge=0)
    lr_scheduler_type: str = "linear"
    """A transformers scheduler's name: linear, cosine, constant, …"""
    lr_scheduler_kwargs: dict[str, Any] = Field(default_factory=dict)
    warmup_ratio: float = Field(0.0, ge=0, le=1)
    warmup_steps: float = Field(0, ge=0)
    """A number of steps; below 1, a share of all."""
    optim: str = "adamw_torch"
    """adamw_torch, adamw_torch_fused, adamw_8bit, paged_adamw_8bit, paged_adamw_32bit, adafactor, sgd."""
    optim_args: Annotated[str | None, Optional] = None
    weight_decay: float = Field(0.0, ge=0)
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    adam_epsilon: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm; 0 switches clipping off."""
    neftune_noise_alpha: float | None = Field(None, ge=0)
    """Noise on the embeddings while training (arXiv 2310.05914)."""
    label_smoothing_factor: float = 0.0
    """Not supported yet."""
    bf16: bool = False
    fp16: bool = False
    pure_bf16: bool = False
    """Trained weights in bfloat16 too, without float32 masters."""
    tf32: bool | None = None
    gradient_checkpointing: bool | None = None
    """The transformers name; disable_gradient_checkpointing wins where both stand."""
    seed: int = 42
    data_seed: int | None = None
    full_determinism: bool = False
    """Not supported yet: one process on the CPU is deterministic already."""
    disable_shuffling: bool = False
    dataloader_num_workers: int = Field(0, ge=0)
    dataloader_pin_memory: bool = True
    dataloader_prefetch_factor: int | None = Field(None, gt=0)
    group_by_length: bool = False
    """Not supported yet."""
    loss_chunk_tokens: int = Field(1024, gt=0)
    """Supervised positions whose logits exist at a time."""

    logging_steps: int = Field(10, gt=0)
    logging_first_step: bool = True
    save_strategy: Literal["steps", "epoch", "no", "best"] = "steps"
    save_steps: float = Field(500, gt=0)
    save_total_limit: int | None = Field(None, gt=0)
    save_only_model: bool = False
    """Checkpoints hold the model alone: smaller, and cannot be resumed."""
    save_on_each_node: bool = False
    plot_loss: bool = False
    """Accepted for old files; training_loss.png is always written."""

    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    """None: steps where eval_steps and held-out rows are given, else no."""
    eval_steps: float | None = Field(None, gt=0)
    per_device_eval_batch_size: int = Field(8, gt=0)
    eval_on_start: bool = False
    compute_accuracy: bool = False
    """Accepted for old files; token accuracy is always measured on held-out rows."""
    early_stopping_steps: int | None = Field(None, gt=0)
    """Stop after this many evaluations without a better eval_loss."""
    load_best_model_at_end: bool = False
    metric_for_best_model: str = "eval_loss"
    greater_is_better: bool | None = None

    sample_prompts: tuple[dict[str, Any] | str, ...] = ()
    """Questions asked while training: texts, or {prompt, image(s), system}."""
    sample_steps: int | None = Field(None, gt=0)
    """Ask them every so many steps (and before the first and after the last)."""
    sample_max_new_tokens: int = Field(128, gt=0)

    deepspeed: Annotated[str | dict[str, Any] | None, Optional] = None
    """Not supported yet."""
    fsdp: Annotated[str | None, Optional] = None
    fsdp_config: Annotated[str | dict[str, Any] | None, Optional] = None
    fp8: bool = False
    torch_compile: bool = False
    use_cpu: bool = False
    """Stay on the CPU even where a GPU is."""


class TrackingSettings(Section):
    """Where else the metrics go."""

    report_to: tuple[str, ...] | str = ()
    """tensorboard, wandb, mlflow, trackio, swanlab, several comma-separated, or none."""
    run_name: Annotated[str | None, Optional] = None
    logging_dir: Annotated[str | None, Optional] = None
    use_swanlab: bool = False
    swanlab_project: Annotated[str | None, Optional] = "tunesmith"
    swanlab_workspace: Annotated[str | None, Optional] = None
    swanlab_run_name: Annotated[str | None, Optional] = None
    swanlab_mode: Literal["cloud", "local", "offline", "disabled"] = "cloud"
    swanlab_logdir: Annotated[str | None, Optional] = None
    project: Annotated[str | None, Optional] = None
    """Project name for wandb, mlflow and trackio."""
