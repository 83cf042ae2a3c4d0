"""Learning from rewarded answers: what is rewarded, how answers are drawn, and how far a step may go."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tunesmith.config.reward_specs import read_reward_funcs, read_reward_weights
from tunesmith.config.section import Names, Optional, Section

RewardLoss = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]


class GrpoSettings(Section):
    """Stage grpo (arXiv 2402.03300), which TRL's trainer runs."""

    reward_funcs: Annotated[tuple[str | dict[str, Any], ...], BeforeValidator(read_reward_funcs)] = ()
    """What answers are rewarded for, a list: exact_match, format, `regex: PATTERN`, `fullmatch: PATTERN`,
    `path/to/file.py:function`, `package.module:function`, reward_model."""
    reward_weights: Annotated[tuple[float, ...], BeforeValidator(read_reward_weights)] = ()
    """What each reward counts, in the order of reward_funcs: 1,0.5. Empty: all 1."""
    reward_model: Annotated[str | None, Optional] = None
    """A model that stage rm trained: its folder or its name on the hub. It then is a reward of its own."""
    reward_model_adapters: Names = ()
    """Adapters on the reward model."""
    reward_model_quantization_bit: Literal[4, 8] | None = None
    """Load the reward model quantised."""
    num_generations: int = Field(8, ge=2)
    """Answers drawn for each prompt, which are compared with each other."""
    max_completion_length: int = Field(512, gt=0)
    """Longest answer drawn, in tokens; cutoff_len bounds the prompt."""
    steps_per_generation: int | None = Field(None, gt=0)
    """Micro-batches that are drawn at a time. Empty: gradient_accumulation_steps, so that answers are always fresh."""
    rollout_temperature: float = Field(1.0, gt=0)
    """Temperature answers are drawn with. Chat and sample_prompts have temperature."""
    rollout_top_p: float = Field(1.0, gt=0, le=1)
    """Answers are drawn from the likeliest tokens that together have this probability."""
    rollout_top_k: int = Field(0, ge=0)
    """Answers are drawn from so many tokens; 0 from all."""
    grpo_beta: float = Field(0.0, ge=0)
    """Weight of the distance (KL) to the model as the training began; 0 does without that model."""
    grpo_epsilon: float = Field(0.2, gt=0)
    """How far a token's probability may move from where it was drawn before it is clipped."""
    grpo_epsilon_high: float | None = Field(None, gt=0)
    """The same upwards, where it differs (DAPO, arXiv 2503.14476); for loss cispo the highest ratio."""
    grpo_loss_type: RewardLoss = "dapo"
    """How tokens are averaged and clipped, by TRL's names."""
    grpo_num_iterations: int = Field(1, gt=0)
    """Passes over the same drawn answers."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by: the spread of a prompt's answers, of all answers of a step, or nothing."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """What is clipped: tokens, or whole answers (GSPO, arXiv 2507.18071)."""
    mask_truncated_completions: bool = False
    """Leave answers that max_completion_length cut off out of the loss."""
    use_vllm: bool = False
    """Draw answers with vLLM, on GPUs."""
    vllm_mode: Literal["colocate", "server"] = "colocate"
    """vLLM in this process, or a server that `vllm serve` started."""
    vllm_server_base_url: Annotated[str | None, Optional] = None
    """With vllm_mode server: where it is, http://host:port."""
    vllm_gpu_memory_utilization: float = Field(0.3, gt=0, le=1)
    """With vllm_mode colocate: the share of the GPU's memory that vLLM takes."""
    vllm_tensor_parallel_size: int = Field(1, gt=0)
    """With vllm_mode colocate: GPUs that vLLM spreads the model over."""
    vllm_max_model_length: int | None = Field(None, gt=0)
    """With vllm_mode colocate: longest prompt and answer together. Empty: as the model says."""
