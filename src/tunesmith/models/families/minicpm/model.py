"""MiniCPM as transformers' Granite, whose weights have the published names already."""

from __future__ import annotations

from transformers import GraniteForCausalLM

from tunesmith.models.families.minicpm.config import MiniCPMConfig


class MiniCPMForCausalLM(GraniteForCausalLM):  # type: ignore[no-untyped-call]
    """Granite's layers and forward under the published class's name, which config.json records."""

    config_class = MiniCPMConfig
