"""InternLM2 as transformers' Llama; its published weights come in by the map in `weights`."""

from __future__ import annotations

from transformers import LlamaForCausalLM

from tunesmith.models.families.internlm2.config import InternLM2Config


class InternLM2ForCausalLM(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """Llama's layers and forward under the published class's name, which config.json records."""

    config_class = InternLM2Config
