"""What trains: everything, some layers, or adapters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.section import Names, Optional, Section


class TuningSettings(Section):
    """Full, freeze, LoRA; and which parts of a multimodal model stay fixed."""

    finetuning_type: Literal["lora", "full", "freeze", "oft"] = "lora"
    """lora, full or freeze."""
    lora_rank: int = Field(8, gt=0)
    lora_alpha: float | None = Field(None, gt=0)
    """Twice the rank if empty."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target: str | tuple[str, ...] = "all"
    """all (every linear layer of the language model, and of the tower if it trains), names, or a regular expression."""
    additional_target: Names = ()
    """Modules that train in full beside the adapter and are saved with it."""
    lora_bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) (arXiv 2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""
    create_new_adapter: bool = False
    """Merge adapter_name_or_path and start a new adapter, instead of going on with the last."""
    pissa_init: bool = False
    """Not supported yet."""
    pissa_iter: int = 16
    pissa_convert: bool = False
    loraplus_lr_ratio: float | None = Field(None, gt=0)
    """Learning rate of B over that of A (arXiv 2402.12354)."""
    loraplus_lr_embedding: float = 1e-6

    freeze_trainable_layers: int = 2
    """freeze: how many of the last layers train; negative: of the first."""
    freeze_trainable_modules: Names = ("all",)
    """freeze: which modules of those layers."""
    freeze_extra_modules: Names = ()
    """freeze: modules outside the layers that train too."""

    freeze_vision_tower: bool = True
    freeze_multi_modal_projector: bool = True
    freeze_language_model: bool = False
    vision_learning_rate: float | None = Field(None, ge=0)
    """Learning rate of the vision tower, if it differs."""
    projector_learning_rate: float | None = Field(None, ge=0)
    """Learning rate of the projector, if it differs."""

    use_lora: bool | None = None
    """MiniCPM-V's script: true means finetuning_type lora."""
    lora_r: int | None = Field(None, gt=0)
    """MiniCPM-V's name of lora_rank."""
    lora_target_modules: Annotated[str | None, Optional] = None
    """MiniCPM-V's name of lora_target: a regular expression."""
    tune_vision: bool | None = None
    """MiniCPM-V's script: the vision tower trains."""
    tune_llm: bool | None = None
    """MiniCPM-V's script: the language model trains."""
    q_lora: bool | None = None
    """MiniCPM-V's script: true means quantization_bit 4."""
    use_galore: bool = False
    use_apollo: bool = False
    use_badam: bool = False
    use_adam_mini: bool = False
    use_muon: bool = False
    use_llama_pro: bool = False
    use_dft_loss: bool = False
    use_asft_loss: bool = False
    use_eaft_loss: bool = False
