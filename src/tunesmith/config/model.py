"""Which model, from where, in what precision, quantised how."""

from __future__ import annotations

from typing import Annotated, Literal

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
    pretrained_pth: Annotated[str | None, Optional] = None
    """LLaVA: start from the projector in this checkpoint of XTuner's (a .pth, a file or a folder)."""
    cache_dir: Annotated[str | None, Optional] = None
    """Where hub downloads are kept (the hub's own cache if empty)."""
    model_revision: str = "main"
    """Branch, tag or commit on the hub."""
    hf_hub_token: SecretStr | None = None
    """Prefer the environment variable HF_TOKEN. Never printed, logged or written."""
    ms_hub_token: SecretStr | None = None
    """Prefer the environment variable MODELSCOPE_API_TOKEN. Never printed, logged or written."""

    resize_vocab: bool = False
    """Grow the embedding to the tokenizer's size where the tokenizer is larger."""
    add_tokens: Names = ()
    """Plain tokens to add to the tokenizer (needs resize_vocab)."""
    add_special_tokens: Names = ()
    """Special tokens to add to the tokenizer (needs resize_vocab)."""

    flash_attn: Literal["auto", "disabled", "eager", "sdpa", "fa2", "fa3"] = "auto"
    """Attention implementation: auto takes SDPA; fa2 needs flash-attn; disabled and eager are the plain one."""
    disable_gradient_checkpointing: bool | None = None
    """None: on for GPUs, off on the CPU. True or false decides it."""
    train_from_scratch: bool = False
    """Random weights from the folder's config.json instead of its weights."""
    print_param_status: bool = False
    """Print a table of what trains and how much memory it takes."""

    quantization_bit: Literal[4, 8] | None = None
    """4 or 8: load the frozen weights quantised (QLoRA)."""
    quantization_method: Literal["bnb", "bitsandbytes", "hqq", "eetq"] = "bnb"
    """Only bitsandbytes is supported."""
    quantization_type: Literal["nf4", "fp4"] = "nf4"
    """Data type of 4-bit weights."""
    double_quantization: bool = True
    """Quantise the quantisation constants too."""

    infer_backend: Literal["huggingface", "vllm", "sglang"] = "huggingface"
    """What answers in chat; only huggingface is supported yet."""
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Precision of chat and export; auto keeps the checkpoint's."""


class MediaSettings(Section):
    """How images, videos and audio become model input."""

    image_max_pixels: int | None = Field(None, gt=0)
    """Shrink larger images to this area, before a model cuts them into slices; None leaves its processor to decide."""
    image_min_pixels: int | None = Field(None, gt=0)
    """Enlarge smaller images to this area; None leaves the model's own processor to decide."""
    image_do_pan_and_scan: bool = False
    """Gemma 3: cut wide images into crops."""
    crop_to_patches: bool = False
    """InternVL: cut images into tiles."""
    max_slice_nums: int | None = Field(None, gt=0)
    """MiniCPM-V: at most this many slices an image; None leaves the model's own number."""
    downsample_mode: Literal["4x", "16x"] | None = None
    """MiniCPM-V 4.6 and later: patches a token stands for; 4x: finer, for four times the tokens; None: the model's."""
    video_fps: float = Field(2.0, gt=0)
    """Frames taken from each second of a video."""
    video_maxlen: int | None = Field(None, gt=0)
    """At most this many frames a video; None: 128, or with enable_high_fps as many as its groups hold."""
    enable_high_fps: bool = False
    """MiniCPM-V 4.5: more frames for the same tokens, several sharing one run of them where a video is long."""
    double_frame_duration: float = Field(30.0, ge=0)
    """With enable_high_fps: videos shorter than this (s) get twice the frames, two a group; 0: none does."""
    packing_maxlen: int = Field(3, ge=1, le=6)
    """With enable_high_fps: at most this many consecutive frames share a group."""
    time_scale: float = Field(0.1, gt=0)
    """MiniCPM-V 4.5: seconds between two temporal ids of frames; the published models were trained with 0.1."""
    video_max_pixels: int | None = Field(None, gt=0)
    """Shrink larger frames to this area; None leaves the model's own processor to decide."""
    video_min_pixels: int | None = Field(None, gt=0)
    """Enlarge smaller frames to this area; None leaves the model's own processor to decide."""
    use_audio_in_video: bool = False
    """Models that hear (Qwen2.5-Omni): weave in the sound of videos, or a row's audio where it has one for each."""
    audio_sampling_rate: int | None = Field(None, gt=0)
    """Samples a second; None takes the model's own rate."""
    url_timeout_s: float = Field(20.0, gt=0)
    """Media given by URL: seconds a download may take."""
    url_max_bytes: int = Field(200_000_000, gt=0)
    """Media given by URL: bytes a file may have."""

    @property
    def max_frames(self) -> int:
        """Frames a video at most, where its frames are not packed."""
        return 128 if self.video_maxlen is None else self.video_maxlen
