from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni

from tests.tiny import KINDS, TEXT_KINDS, tiny_folder
from tunesmith.errors import ModelError
from tunesmith.models.load import load_config, model_class_of
from tunesmith.models.parts import Part, find_parts

# kind -> language model, towers, projectors
PARTS = {
    "gpt2": ("transformer", (), ()),
    "qwen2_5_vl": ("model.language_model", ("model.visual",), ("model.visual.merger",)),
    "qwen2_vl": ("model.language_model", ("model.visual",), ("model.visual.merger",)),
    "qwen3_vl": (
        "model.language_model",
        ("model.visual",),
        ("model.visual.merger", "model.visual.deepstack_merger_list"),
    ),
    "gemma3": ("model.language_model", ("model.vision_tower",), ("model.multi_modal_projector",)),
    "llava": ("model.language_model", ("model.vision_tower",), ("model.multi_modal_projector",)),
    "llava_onevision": (
        "model.language_model",
        ("model.vision_tower",),
        ("model.multi_modal_projector", "model.image_newline"),
    ),
    "internvl": ("model.language_model", ("model.vision_tower",), ("model.multi_modal_projector",)),
    "idefics3": ("model.text_model", ("model.vision_model",), ("model.connector",)),
    "smolvlm": ("model.text_model", ("model.vision_model",), ("model.connector",)),
    "mistral3": ("model.language_model", ("model.vision_tower",), ("model.multi_modal_projector",)),
    "glm4v": ("model.language_model", ("model.visual",), ("model.visual.merger", "model.visual.downsample")),
    "minicpmv_2_6": ("llm.model", ("vpm",), ("resampler",)),
    "minicpmv_4_0": ("llm.model", ("vpm",), ("resampler",)),
    "minicpmv_4_5": ("llm.model", ("vpm",), ("resampler",)),
    "minicpmv4_7": ("model.language_model", ("model.vision_tower",), ("model.merger",)),
    "minicpmv4_6": ("model.language_model", ("model.vision_tower",), ("model.merger",)),
    "qwen2_audio": ("model.language_model", ("model.audio_tower",), ("model.multi_modal_projector",)),
    "minicpmo_2_6": ("llm.model", ("vpm", "apm"), ("resampler", "audio_projection_layer")),
    "qwen2_5_omni": (
        "model.language_model",
        ("model.audio_tower", "model.visual"),
        ("model.audio_tower.proj", "model.visual.merger"),
    ),
}
if not hasattr(modeling_qwen2_5_omni, "Qwen2_5OmniThinkerModel"):  # before transformers 5.2x
    PARTS["qwen2_5_omni"] = ("model", ("audio_tower", "visual"), ("audio_tower.proj", "visual.merger"))


def skeleton(folder: Path) -> torch.nn.Module:
    """The model of a folder without its weights."""
    config = load_config(folder)
    with torch.device("meta"):
        return model_class_of(config, folder)(config)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_is_taken_apart(kind: str, tmp_path: Path) -> None:
    language_model, towers, projectors = PARTS.get(kind, ("model", (), ()))

    parts = find_parts(skeleton(tiny_folder(kind, tmp_path)))

    assert parts.language_model == language_model
    assert parts.layers == f"{language_model}.{'h' if kind == 'gpt2' else 'layers'}"
    assert parts.vision_tower == towers
    assert parts.projector == projectors
    assert parts.head == ("llm.lm_head" if language_model.startswith("llm.") else "lm_head")
    assert parts.is_multimodal == (kind not in TEXT_KINDS)


def test_the_real_sizes_come_apart_as_the_tiny_ones() -> None:
    with torch.device("meta"):
        parts = find_parts(Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig()))

    assert (parts.language_model, parts.vision_tower, parts.projector) == PARTS["qwen2_5_vl"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.visual.blocks.0.attn.qkv.weight", Part.VISION_TOWER),
        ("model.visual.patch_embed.proj.weight", Part.VISION_TOWER),
        ("model.visual.merger.mlp.0.weight", Part.PROJECTOR),
        ("model.language_model.layers.1.mlp.up_proj.weight", Part.LANGUAGE_MODEL),
        ("model.language_model.embed_tokens.weight", Part.LANGUAGE_MODEL),
        ("lm_head.weight", Part.HEAD),
        ("base_model.model.model.visual.merger.mlp.0.lora_A.default.weight", Part.PROJECTOR),
    ],
)
def test_the_part_of_a_parameter(qwen2_5_vl_folder: Path, name: str, part: Part) -> None:
    assert find_parts(skeleton(qwen2_5_vl_folder)).part_of(name) == part


def test_an_adapter_around_it_changes_nothing(qwen2_5_vl_folder: Path) -> None:
    model = skeleton(qwen2_5_vl_folder)
    before = find_parts(model)

    assert find_parts(get_peft_model(model, LoraConfig(target_modules=["q_proj"]))) == before


def test_a_model_without_a_stack_beside_its_embedding() -> None:
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(num_layers=1))

    with pytest.raises(ModelError, match="T5ForConditionalGeneration has no stack of decoder layers"):
        find_parts(model)
