"""How answers are sampled, and how a model is written out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.section import Optional, Section


class GenerationSettings(Section):
    """Sampling, in chat and in questions asked while training."""

    do_sample: bool = True
    temperature: float = Field(0.95, ge=0)
    top_p: float = Field(0.7, gt=0, le=1)
    top_k: int = Field(50, ge=0)
    num_beams: int = Field(1, gt=0)
    max_length: int = Field(1024, gt=0)
    max_new_tokens: int = Field(1024, gt=0)
    repetition_penalty: float = Field(1.0, gt=0)
    length_penalty: float = 1.0
    skip_special_tokens: bool = True


class ExportSettings(Section):
    """`tunesmith export`: base and adapter merged into one folder."""

    export_dir: Annotated[str | None, Optional] = None
    export_size: float = Field(5, gt=0)
    """Largest weight file in GB."""
    export_device: Literal["cpu", "auto"] = "cpu"
    export_legacy_format: bool = False
    """True: pytorch_model.bin instead of safetensors."""
    export_hub_model_id: Annotated[str | None, Optional] = None
    """Not supported yet."""
    export_quantization_bit: int | None = None
    """Not supported yet."""
    export_quantization_dataset: Annotated[str | None, Optional] = None
    export_quantization_nsamples: int = 128
    export_quantization_maxlen: int = 1024


class PreferenceSettings(Section):
    """Keys of dpo, kto, rm and ppo: they parse, and come with later parts."""

    pref_beta: float = 0.1
    pref_ftx: float = 0.0
    pref_bco_weight: float = 0.0
    pref_loss: str = "sigmoid"
    dpo_label_smoothing: float = 0.0
    simpo_gamma: float = 0.5
    ld_alpha: float | None = None
    kto_chosen_weight: float = 1.0
    kto_rejected_weight: float = 1.0
    ref_model: Annotated[str | None, Optional] = None
    ref_model_adapters: Annotated[str | None, Optional] = None
    ref_model_quantization_bit: int | None = None
    reward_model: Annotated[str | None, Optional] = None
    reward_model_adapters: Annotated[str | None, Optional] = None
    reward_model_type: Literal["lora", "full", "api"] = "lora"
    ppo_buffer_size: int = 1
    ppo_epochs: int = 4
    ppo_score_norm: bool = False
    ppo_target: float = 6.0
    ppo_whiten_rewards: bool = False
