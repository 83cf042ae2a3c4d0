"""A text model that never saw anything learns to tell shapes and colours apart, by the pictures and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import tunesmith
from tests.compose.shapes import COLOURS, QUESTIONS, SHAPES, SIZE, Scene, draw_scenes, write_dataset
from tests.compose.towers import write_clip
from tests.tiny.text import llama3_tokenizer, sizes
from tunesmith.cli.main import main

pytestmark = pytest.mark.slow

HIDDEN_SIZE = 64
HELD_OUT = draw_scenes(64, seed=1)


def write_language_model(folder: Path) -> Path:
    """A random Llama of two layers."""
    tokenizer = llama3_tokenizer()
    tokenizer.save_pretrained(folder)
    own = {"hidden_size": HIDDEN_SIZE, "intermediate_size": 2 * HIDDEN_SIZE, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(**{**sizes(tokenizer), **own, "num_key_value_heads": 2, "initializer_range": 0.05})
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_tower(folder: Path) -> Path:
    """A random CLIP of three layers whose patches know where they are: CLIP's own start leaves that nearly unsaid."""
    write_clip(folder, hidden_size=HIDDEN_SIZE, intermediate_size=2 * HIDDEN_SIZE, num_attention_heads=4)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith("position_embedding.weight"):
            weights[name] *= 25
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def ask(folder: Path, kind: str, pictures: Sequence[Image.Image]) -> list[str]:
    """The model's answers to QUESTIONS[kind] about each picture."""
    model: Any
    processor: Any
    model, processor = tunesmith.load(folder, device="cpu")
    content = [{"type": "image"}, {"type": "text", "text": QUESTIONS[kind]}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = processor(text=[prompt] * len(pictures), images=[[each] for each in pictures], return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**inputs, do_sample=False, max_new_tokens=6)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [answer.strip() for answer in processor.batch_decode(new, skip_special_tokens=True)]


def accuracy(folder: Path, kind: str, scenes: Sequence[Scene] = HELD_OUT) -> float:
    answers = ask(folder, kind, [scene.picture for scene in scenes])
    return sum(answer == scene.answer(kind) for answer, scene in zip(answers, scenes, strict=True)) / len(scenes)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Language model and tower as they come out of `compose`."""
    folder = tmp_path_factory.mktemp("blind")
    language, tower = write_language_model(folder / "language"), write_tower(folder / "tower")
    words = f"--language_model {language} --vision_tower {tower} --output {folder / 'joined'}"
    assert main(["compose", "llava", *words.split()]) == 0
    return folder / "joined"


@pytest.fixture(scope="module")
def seeing(blind: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after eight epochs on 320 pictures."""
    folder = tmp_path_factory.mktemp("shapes")
    write_dataset(folder, draw_scenes(320, seed=0))
    settings = {
        "model_name_or_path": blind,
        "dataset": "shapes",
        "dataset_dir": folder,
        "output_dir": folder / "run",
        "finetuning_type": "full",
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "num_train_epochs": 8,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "logging_steps": 100,
        "save_strategy": "no",
        "use_cpu": True,
    }
    assert main(["train", *(f"{key}={value}" for key, value in settings.items())]) == 0
    return folder / "run"


@pytest.mark.parametrize("kind", QUESTIONS)
def test_before_it_has_learnt_it_is_at_chance(blind: Path, kind: str) -> None:
    assert accuracy(blind, kind) <= 0.25


@pytest.mark.parametrize(("kind", "at_least"), [("shape", 0.85), ("colour", 0.98)])
def test_then_it_tells_held_out_pictures_apart(seeing: Path, kind: str, at_least: float) -> None:
    assert accuracy(seeing, kind) >= at_least


def test_the_answers_follow_the_pictures(seeing: Path) -> None:
    pictures = [scene.picture for scene in HELD_OUT]
    for kind in QUESTIONS:
        answers, swapped = ask(seeing, kind, pictures), ask(seeing, kind, pictures[::-1])
        assert swapped == answers[::-1]
        assert set(answers) == set(SHAPES if kind == "shape" else COLOURS)


def test_of_grey_pictures_it_knows_nothing(seeing: Path) -> None:
    grey = Image.new("RGB", (SIZE, SIZE), (240, 240, 240))
    unseen = [replace(scene, picture=grey) for scene in HELD_OUT]
    assert [accuracy(seeing, kind, unseen) for kind in QUESTIONS] == [0.25, 0.25]
