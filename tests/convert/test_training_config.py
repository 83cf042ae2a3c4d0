"""What is read from XTuner's configs, as files and as mmengine keeps them in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.convert.training_config import (
    LoraRecipe,
    TrainingConfig,
    parse_training_config,
    read_training_config,
)
from tunesmith.errors import UsageError


def test_a_config_file() -> None:
    text = """
from peft import LoraConfig
llm_name_or_path = "internlm/internlm2-chat-1_8b"
tower = "openai/clip-vit-large-patch14-336"
max_length = int(2048 - (336 / 14) ** 2)
accumulative_counts = 16
accumulative_counts *= 2
tokenizer = dict(type=AutoTokenizer.from_pretrained, pretrained_model_name_or_path=llm_name_or_path)
model = dict(
    type=LLaVAModel,
    freeze_llm=True,
    visual_select_layer=-3,
    llm=dict(type=AutoModelForCausalLM.from_pretrained, pretrained_model_name_or_path=llm_name_or_path),
    llm_lora=dict(type=LoraConfig, r=512, lora_alpha=256, lora_dropout=0.05, bias="none"),
    visual_encoder=dict(type=CLIPVisionModel.from_pretrained, pretrained_model_name_or_path=tower),
    visual_encoder_lora=dict(type=LoraConfig, r=64, use_rslora=True),
)
llava_dataset = dict(type=LLaVADataset, pad_image_to_square=False)
train_dataloader = dict(dataset=llava_dataset)
"""
    assert parse_training_config(text) == TrainingConfig(
        language_model="internlm/internlm2-chat-1_8b",
        vision_tower="openai/clip-vit-large-patch14-336",
        language_lora=LoraRecipe(256, 0.05),
        vision_lora=LoraRecipe(8, 0.0, use_rslora=True),
        feature_layer=-3,
        pads_to_square=False,
    )


def test_the_text_in_a_checkpoint_has_types_by_name() -> None:
    text = (
        "model = dict(\n    llm=dict(pretrained_model_name_or_path='a/b', type='transformers.AutoModelForCausalLM'),\n"
        "    lora=dict(lora_alpha=16, lora_dropout=0.1, r=64, type='peft.LoraConfig'),\n    type='x.Supervised')\n"
    )
    assert parse_training_config(text) == TrainingConfig("a/b", language_lora=LoraRecipe(16, 0.1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model = build()",
        "model = dict(llm=dict(pretrained_model_name_or_path=os.environ['BASE']), lora=dict(lora_alpha=rank * 2))",
    ],
)
def test_what_is_no_literal_is_unknown(text: str) -> None:
    assert parse_training_config(text) == TrainingConfig()


def test_a_dict_in_braces_and_a_rank_without_alpha() -> None:
    text = "model = {'llm': {'pretrained_model_name_or_path': 'a'}, 'lora': dict(r=8)}"
    assert parse_training_config(text) == TrainingConfig("a", language_lora=LoraRecipe(8))


def test_a_file_that_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("model: = 3")
    with pytest.raises(UsageError, match=r"run\.py cannot be read"):
        read_training_config(tmp_path / "run.py")
