"""How long, how fast, saved and evaluated when."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from tunesmith.config.section import Names, Optional, Section, none_from_word
from tunesmith.config.stages import ROWS_OF_STAGE, RowKind, Stage


def _bool_or_text(value: Any) -> Any:
    value = none_from_word(value)
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    return value


def _one_or_many(value: Any) -> Any:
    value = none_from_word(value)
    if value is None:
        return ()
    return (value,) if isinstance(value, str | dict) else value


class TrainingSettings(Section):
    """The loop: steps, optimiser, schedule, checkpoints."""

    stage: Stage = "sft"
    """pt, sft, dpo, orpo, simpo, kto, rm or grpo."""
    do_train: bool = True
    """False with do_eval: evaluate the held-out rows and stop."""
    do_eval: bool = False
    """With do_train false, the held-out rows are evaluated; while training, eval_strategy says when."""
    output_dir: Annotated[str | None, Optional] = None
    """The run folder."""
    overwrite_output_dir: bool = False
    """Delete a run that stands in output_dir and start anew."""
    resume_from_checkpoint: Annotated[str | bool | None, BeforeValidator(_bool_or_text)] = None
    """A checkpoint folder, or true for the last one in output_dir."""

    per_device_train_batch_size: int = Field(1, gt=0)
    """Conversations a micro-batch."""
    gradient_accumulation_steps: int = Field(1, gt=0)
    """Micro-batches an optimiser step."""
    num_train_epochs: float = Field(3.0, gt=0)
    """Passes over the rows; may be a fraction."""
    max_steps: int = -1
    """Above 0: the number of optimiser steps, whatever num_train_epochs says."""
    learning_rate: float = Field(5e-5, ge=0)
    """The highest, after the warm-up."""
    lr_scheduler_type: str = "linear"
    """A transformers scheduler's name: linear, cosine, constant, …"""
    lr_scheduler_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the schedule: {num_cycles: 0.5}."""
    warmup_ratio: float = Field(0.0, ge=0, le=1)
    """Share of all steps in which the learning rate rises to its value."""
    warmup_steps: float = Field(0, ge=0)
    """A number of steps; below 1, a share of all."""
    optim: str = "adamw_torch"
    """adamw_torch, adamw_torch_fused, adamw_8bit, paged_adamw_8bit, paged_adamw_32bit, adafactor, sgd."""
    optim_args: Annotated[str | None, Optional] = None
    """Arguments of the optimiser: `key=value,key=value`."""
    weight_decay: float = Field(0.0, ge=0)
    """Pull towards zero; biases and normalisation are left out of it."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of AdamW's mean of gradients."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of AdamW's mean of squared gradients."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """What AdamW adds to the root in its denominator."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are clipped to this norm; 0 switches clipping off."""
    neftune_noise_alpha: float | None = Field(None, ge=0)
    """Noise on the embeddings while training (arXiv 2310.05914)."""
    bf16: bool = False
    """Compute in bfloat16, with float32 masters of what trains."""
    fp16: bool = False
    """Compute in float16 with a gradient scaler, for GPUs without bfloat16."""
    pure_bf16: bool = False
    """Trained weights in bfloat16 too, without float32 masters."""
    tf32: bool | None = None
    """Whether float32 products may use TF32 on NVIDIA GPUs; None leaves PyTorch its default."""
    seed: int = 42
    """Of everything random: new weights, held-out rows, dropout, order."""
    data_seed: int | None = None
    """The order of rows; None takes seed."""
    disable_shuffling: bool = False
    """Rows in the order of the files."""
    dataloader_num_workers: int = Field(0, ge=0)
    """Processes that encode rows and make pixels; 0: a thread of the training process."""
    dataloader_pin_memory: bool = True
    """Batches in page-locked memory, for faster copies to a GPU."""
    dataloader_prefetch_factor: int | None = Field(None, gt=0)
    """Batches each worker keeps ready."""
    torch_compile: bool = False
    """Compile the decoder's layers: slow first steps, faster later ones on GPUs."""
    loss_chunk_tokens: int = Field(1024, gt=0)
    """Supervised positions whose logits exist at a time."""

    logging_steps: int = Field(10, gt=0)
    """A line of metrics every so many steps."""
    logging_first_step: bool = True
    """A line for the first step too."""
    save_strategy: Literal["steps", "epoch", "no", "best"] = "steps"
    """When checkpoints are written; best only when eval_loss improves."""
    save_steps: float = Field(500, gt=0)
    """A checkpoint every so many steps; below 1, a share of all."""
    save_total_limit: int | None = Field(None, gt=0)
    """Keep so many checkpoints, the oldest go."""
    save_only_model: bool = False
    """Checkpoints hold the model alone: smaller, and cannot be resumed."""

    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    """None: where rows are held out, every eval_steps if given, else at the end of each epoch."""
    eval_steps: float | None = Field(None, gt=0)
    """Evaluate every so many steps; below 1, a share of all."""
    per_device_eval_batch_size: int = Field(8, gt=0)
    """Conversations a batch of held-out rows."""
    eval_on_start: bool = False
    """Evaluate before the first step too."""
    early_stopping_steps: int | None = Field(None, gt=0)
    """Stop after this many evaluations without a better eval_loss."""
    load_best_model_at_end: bool = False
    """The final model is the one with the best metric, not the last."""
    metric_for_best_model: str = "eval_loss"
    """The metric that decides which is best."""
    greater_is_better: bool | None = None
    """Whether more of it is better; None knows for the metrics there are."""

    sample_prompts: Annotated[tuple[dict[str, Any] | str, ...], BeforeValidator(_one_or_many)] = ()
    """Questions asked while training: texts, or {prompt, image(s), system}."""
    sample_steps: int | None = Field(None, gt=0)
    """Ask them every so many steps (and before the first and after the last)."""
    sample_max_new_tokens: int = Field(128, gt=0)
    """Longest answer to a sample prompt."""

    use_cpu: bool = False
    """Stay on the CPU even where a GPU is."""

    @property
    def rows(self) -> RowKind:
        """What `stage` learns from. Raises KeyError for ppo, which is refused before."""
        return ROWS_OF_STAGE[self.stage]


class TrackingSettings(Section):
    """Where else the metrics go."""

    report_to: Names = ()
    """tensorboard, wandb, mlflow, trackio, swanlab, several comma-separated, or none."""
    run_name: Annotated[str | None, Optional] = None
    """The run's name in the trackers."""
    logging_dir: Annotated[str | None, Optional] = None
    """Where TensorBoard's files go (in the run folder if empty)."""
    use_swanlab: bool = False
    """The same as report_to: swanlab."""
    swanlab_project: Annotated[str | None, Optional] = "tunesmith"
    """Project name."""
    swanlab_workspace: Annotated[str | None, Optional] = None
    """The team the project belongs to."""
    swanlab_run_name: Annotated[str | None, Optional] = None
    """Experiment name."""
    swanlab_mode: Literal["cloud", "local", "offline", "disabled"] = "cloud"
    """cloud needs a key, local and offline write files only."""
    swanlab_logdir: Annotated[str | None, Optional] = None
    """Where local and offline runs are written."""
    swanlab_api_key: SecretStr | None = None
    """Prefer the environment variable SWANLAB_API_KEY. Never printed, logged or written."""
    project: Annotated[str | None, Optional] = None
    """Project name for wandb, mlflow and trackio."""
