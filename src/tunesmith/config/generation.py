"""How answers are sampled, and how a model is written out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.section import Optional, Section


class GenerationSettings(Section):
    """Sampling, in chat and in questions asked while training."""

    do_sample: bool = True
    """Draw tokens by their probability; false takes the likeliest."""
    temperature: float = Field(0.95, ge=0)
    """Below 1 sharper, above 1 flatter; 0 takes the likeliest token."""
    top_p: float = Field(0.7, gt=0, le=1)
    """Draw from the likeliest tokens that together have this probability."""
    top_k: int = Field(50, ge=0)
    """Draw from so many tokens; 0 from all."""
    num_beams: int = Field(1, gt=0)
    """Beams of a beam search; 1 is none."""
    max_new_tokens: int = Field(1024, gt=0)
    """Longest answer."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1, tokens that have come already become less likely."""
    length_penalty: float = 1.0
    """Beam search: above 0 favours long answers."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text of an answer."""


class ExportSettings(Section):
    """`tunesmith export`: base and adapter merged into one folder."""

    export_dir: Annotated[str | None, Optional] = None
    """The folder to write."""
    export_size: float = Field(5, gt=0)
    """Largest weight file in GB."""
    export_device: Literal["cpu", "auto"] = "cpu"
    """Where the merged model is compared with base and adapter."""
    export_legacy_format: bool = False
    """True: pytorch_model.bin instead of safetensors."""
