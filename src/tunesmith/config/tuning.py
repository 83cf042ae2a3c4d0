"""What trains: everything, some layers, or adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunesmith.config.section import Names, Section

AdapterLayout = Literal["native", "published"]


class TuningSettings(Section):
    """Full, freeze, LoRA; and which parts of a multimodal model stay fixed."""

    finetuning_type: Literal["lora", "full", "freeze", "oft"] = "lora"
    """lora, full or freeze."""
    lora_rank: int = Field(8, gt=0)
    """Rank of the adapter's matrices."""
    lora_alpha: float | None = Field(None, gt=0)
    """Twice the rank if empty."""
    vision_lora_rank: int | None = Field(None, gt=0)
    """Rank of the adapters in the vision tower, if it differs (needs freeze_vision_tower: false)."""
    vision_lora_alpha: float | None = Field(None, gt=0)
    """Alpha of the adapters in the vision tower; twice vision_lora_rank if empty."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    lora_target: str | tuple[str, ...] = "all"
    """all (every linear layer of the language model, and of the tower if it trains), names, or a regular expression."""
    additional_target: Names = ()
    """Modules that train in full beside the adapter and are saved with it."""
    lora_bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases train too."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank) (arXiv 2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""
    create_new_adapter: bool = False
    """Merge adapter_name_or_path and start a new adapter, instead of going on with the last."""
    adapter_layout: AdapterLayout = "native"
    """How written adapters name layers: as transformers, or published as the model was (wqkv, w1), for its own code."""
    loraplus_lr_ratio: float | None = Field(None, gt=0)
    """Learning rate of B over that of A (arXiv 2402.12354)."""
    loraplus_lr_embedding: float = 1e-6
    """LoRA+: learning rate of embedding adapters."""

    freeze_trainable_layers: int = 2
    """freeze: how many of the last layers train; negative: of the first."""
    freeze_trainable_modules: Names = ("all",)
    """freeze: which modules of those layers."""
    freeze_extra_modules: Names = ()
    """freeze: modules outside the layers that train too."""

    freeze_vision_tower: bool = True
    """The vision tower stays as it is."""
    freeze_multi_modal_projector: bool = True
    """What joins the tower and the language model stays as it is; with LoRA, false trains it in full."""
    freeze_language_model: bool = False
    """The language model stays as it is."""
    vision_learning_rate: float | None = Field(None, ge=0)
    """Learning rate of the vision tower, if it differs."""
    projector_learning_rate: float | None = Field(None, ge=0)
    """Learning rate of the projector, if it differs."""
