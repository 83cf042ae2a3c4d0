"""Tiny random models of real architectures: `tiny_folder("qwen2_5_vl", path)` writes one and returns its folder.

Two layers, a hidden size of 32, about 600 tokens, the family's own special tokens, chat template and processor.
Everything is deterministic and needs no network.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from transformers import CONFIG_MAPPING

from tests.tiny import audio, internlm, minicpm, minicpm_native, qwen, text, vision
from tests.tiny.kinds import Builder

TEXT_KINDS: dict[str, Builder] = {
    "qwen2": qwen.build_qwen2,
    "qwen3": text.build_qwen3,
    "qwen3_moe": text.build_qwen3_moe,
    "llama": text.build_llama,
    "gemma3_text": text.build_gemma3_text,
    "mistral": text.build_mistral,
    "internlm3": text.build_internlm3,
    "phi": text.build_phi,
    "phi3": text.build_phi3,
    "glm4": text.build_glm4,
    "gpt2": text.build_gpt2,
    "internlm2": internlm.build_internlm2,
    "minicpm": internlm.build_minicpm,
}
VISION_KINDS: dict[str, Builder] = {
    "qwen2_5_vl": qwen.build_qwen2_5_vl,
    "qwen2_vl": vision.build_qwen2_vl,
    "qwen3_vl": vision.build_qwen3_vl,
    "gemma3": vision.build_gemma3,
    "llava": vision.build_llava,
    "llava_onevision": vision.build_llava_onevision,
    "internvl": vision.build_internvl,
    "idefics3": vision.build_idefics3,
    "smolvlm": vision.build_smolvlm,
    "mistral3": vision.build_mistral3,
    "glm4v": vision.build_glm4v,
    "minicpmv4_6": minicpm_native.build_minicpmv4_6,
    "minicpmv4_7": minicpm_native.build_minicpmv4_7,
    "minicpmv_2_6": minicpm.BUILDERS["minicpmv_2_6"],
    "minicpmv_4_0": minicpm.BUILDERS["minicpmv_4_0"],
    "minicpmv_4_5": minicpm.BUILDERS["minicpmv_4_5"],
}
AUDIO_KINDS: dict[str, Builder] = {
    "qwen2_audio": audio.build_qwen2_audio,
    "qwen2_5_omni": audio.build_qwen2_5_omni,
    "minicpmo_2_6": minicpm.BUILDERS["minicpmo_2_6"],
}
if "internlm3" not in CONFIG_MAPPING:
    del TEXT_KINDS["internlm3"]
if "minicpmv4_7" not in CONFIG_MAPPING:
    del VISION_KINDS["minicpmv4_7"]
if find_spec("num2words") is None:
    del VISION_KINDS["smolvlm"]
KINDS = {**TEXT_KINDS, **VISION_KINDS, **AUDIO_KINDS}
IMAGE_KINDS = [*VISION_KINDS, "qwen2_5_omni", "minicpmo_2_6"]
"""Those that take images, some of which hear too."""


def tiny_folder(kind: str, folder: Path) -> Path:
    """Write the tiny model `kind` (a key of KINDS) into `folder`, created if absent, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind](folder)
    return folder
