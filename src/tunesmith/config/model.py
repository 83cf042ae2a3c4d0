"""Which model, from where, in what precision, quantised how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from tunesmith.config.section import Names, Optional, Section


class ModelSettings(Section):
    """Identity, loading and precision of the model."""

    model_name_or_path: Annotated[str | None, Optional] = None
    """A local folder, or a repository name on the hub."""
    adapter_name_or_path: Names = ()
    """Adapters to start from: all but the last are merged, the last goes on training."""
    adapter_folder: Annotated[str | None, Optional] = None
    """A folder that `adapter_name_or_path` is relative to."""
    cache_dir: Annotated[str | None, Optional] = None
    """Where hub downloads are kept (the hub's own cache if empty)."""
    model_revision: str = "main"
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Accepted for old files. Tunesmith never runs code from a model's folder."""
    hf_hub_token: SecretStr | None = None
    """Prefer the environment variable HF_TOKEN. Never printed, logged or written."""
    ms_hub_token: SecretStr | None = None
    """Prefer the environment variable MODELSCOPE_API_TOKEN. Never printed, logged or written."""
    om_hub_token: SecretStr | None = None
    """Not supported: models come from Hugging Face or ModelScope."""

    resize_vocab: bool = False
    """Grow the embedding to the tokenizer's size where the tokenizer is larger."""
    split_special_tokens: bool = False
    """Accepted for old files. Text of a row never becomes a special token here."""
    add_tokens: Names = ()
    """Plain tokens to add to the tokenizer (needs resize_vocab)."""
    add_special_tokens: Names = ()
    """Special tokens to add to the tokenizer (needs resize_vocab)."""

    flash_attn: Literal["auto", "disabled", "eager", "sdpa", "fa2", "fa3"] = "auto"
    """Attention implementation: auto takes SDPA; fa2 needs flash-attn; disabled and eager are the plain one."""
    rope_scaling: Literal["linear", "dynamic", "yarn", "llama3"] | None = None
    """Not supported yet."""
    enable_liger_kernel: bool = False
    """Not supported yet; the chunked loss is always on."""
    disable_gradient_checkpointing: bool | None = None
    """None: on for GPUs, off on the CPU. True or false decides it."""
    use_reentrant_gc: bool = True
    """Accepted for old files; checkpointing is non-reentrant here, which gives the same gradients."""
    upcast_layernorm: bool = False
    """Not supported yet."""
    upcast_lmhead_output: bool = False
    """Accepted for old files: the loss is always computed in float32 from the head's logits."""
    train_from_scratch: bool = False
    """Random weights from the folder's config.json instead of its weights."""
    low_cpu_mem_usage: bool = True
    """Accepted for old files; loading never holds two copies."""
    print_param_status: bool = False
    """Print a table of what trains and how much memory it takes."""
    moe_aux_loss_coef: float | None = None
    """Not supported yet."""

    quantization_bit: Literal[4, 8] | None = None
    """4 or 8: load the frozen weights quantised (QLoRA)."""
    quantization_method: Literal["bnb", "bitsandbytes", "hqq", "eetq"] = "bnb"
    """Only bitsandbytes is supported."""
    quantization_type: Literal["nf4", "fp4"] = "nf4"
    """Data type of 4-bit weights."""
    double_quantization: bool = True
    """Quantise the quantisation constants too."""
    quantization_device_map: Literal["auto"] | None = None
    """Not supported yet."""

    infer_backend: Literal["huggingface", "vllm", "sglang"] = "huggingface"
    """What answers in chat; only huggingface is supported yet."""
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Precision of chat and export; auto keeps the checkpoint's."""
    offload_folder: str = "offload"
    """Accepted for old files."""
    use_kv_cache: bool = True
    """Keep keys and values while generating."""
    vllm_maxlen: int = 4096
    vllm_gpu_util: float = 0.7
    vllm_enforce_eager: bool = False
    vllm_max_lora_rank: int = 32
    vllm_config: dict[str, Any] | str | None = None
    sglang_maxlen: int = 4096
    sglang_mem_fraction: float = 0.7
    sglang_tp_size: int = -1


class MediaSettings(Section):
    """How images, videos and audio become model input."""

    image_max_pixels: int | None = Field(None, gt=0)
    """Shrink larger images to this area; None leaves the model's own processor to decide."""
    image_min_pixels: int | None = Field(None, gt=0)
    """Enlarge smaller images to this area; None leaves the model's own processor to decide."""
    image_do_pan_and_scan: bool = False
    """Gemma 3: cut wide images into crops."""
    crop_to_patches: bool = False
    """InternVL: cut images into tiles."""
    video_max_pixels: int | None = Field(None, gt=0)
    """Video datasets are not supported yet."""
    video_min_pixels: int | None = Field(None, gt=0)
    video_fps: float | None = Field(None, gt=0)
    video_maxlen: int | None = Field(None, gt=0)
    use_audio_in_video: bool = False
    audio_sampling_rate: int | None = Field(None, gt=0)
    enable_high_fps: bool = False
    double_frame_duration: float | None = None
    packing_maxlen: int | None = None
    time_scale: float | None = None
    max_slice_nums: int | None = None
