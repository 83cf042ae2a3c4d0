"""XTuner's LLaVA, whole and in parts: one folder that computes what its parts compute by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import gelu
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from tests.compose.towers import tower_folder
from tests.convert.xtuner import (
    Weights,
    model_weights,
    prefixed,
    random_lora,
    with_lora_by_hand,
    write_pth,
    write_zero2,
)
from tests.tiny import tiny_folder
from tunesmith import load
from tunesmith.convert.llava import convert_llava_folder
from tunesmith.convert.pth import convert_pth
from tunesmith.convert.request import BaseModels, PthRequest
from tunesmith.errors import ModelError, UsageError

CONFIG = """
model = dict(
    type=LLaVAModel,
    visual_select_layer=-2,
    llm=dict(type=AutoModelForCausalLM.from_pretrained, pretrained_model_name_or_path={language!r}),
    visual_encoder=dict(type=CLIPVisionModel.from_pretrained, pretrained_model_name_or_path={tower!r}),
    llm_lora=dict(type=LoraConfig, r=512, lora_alpha=6, lora_dropout=0.05),
    visual_encoder_lora=dict(type=LoraConfig, r=64, lora_alpha=6),
)
llava_dataset = dict(type=LLaVADataset, pad_image_to_square={pads})
train_dataloader = dict(batch_size=16, dataset=llava_dataset)
"""
PICTURE = Image.effect_mandelbrot((90, 40), (-2, -1, 1, 1), 30).convert("RGB")


def _projector() -> Weights:
    generator = torch.Generator().manual_seed(5)
    shapes = {"0.weight": (32, 32), "0.bias": (32,), "2.weight": (32, 32), "2.bias": (32,)}
    return {f"model.{name}": torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def _tower_lora(tower: Path) -> Weights:
    """By the names its files have; XTuner's have `vision_model.` in any case."""
    return {name: tensor for name, tensor in random_lora(tower).items() if "text_model" not in name}


def _as_xtuner(lora: Mapping[str, torch.Tensor]) -> Weights:
    start, inner = "base_model.model.", "vision_model."
    return {f"{start}{inner}{name.removeprefix(start).removeprefix(inner)}": tensor for name, tensor in lora.items()}


@torch.no_grad()
def _by_hand(language: Path, tower: Path, ids: torch.Tensor, pixels: torch.Tensor, image_token: int) -> torch.Tensor:
    """(1, T, vocabulary) as XTuner computes them: the layer before the last, its first vector left out."""
    model, _ = load(language, dtype="float64", device="cpu")
    seeing = CLIPVisionModel.from_pretrained(tower, dtype=torch.float64).eval()
    weights = {name: tensor.double() for name, tensor in _projector().items()}
    features = seeing(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    hidden = gelu(features @ weights["model.0.weight"].T + weights["model.0.bias"])
    hidden = hidden @ weights["model.2.weight"].T + weights["model.2.bias"]
    is_image = ids[0] == image_token
    embeds = model.get_input_embeddings()(ids.masked_fill(is_image, 0))
    embeds[0, is_image] = hidden[0]
    return model(inputs_embeds=embeds).logits


def _assert_same(joined: Path, language: Path, tower: Path) -> None:
    model, processor = load(joined, dtype="float64", device="cpu")
    assert isinstance(model, LlavaForConditionalGeneration)
    inputs = processor(text="What is in the picture? <image> There", images=PICTURE, return_tensors="pt")
    pixels, ids = inputs["pixel_values"].double(), inputs["input_ids"]
    with torch.no_grad():
        found = model(**{**inputs, "pixel_values": pixels}).logits
    expected = _by_hand(language, tower, ids, pixels, model.config.image_token_index)
    width = min(found.shape[-1], expected.shape[-1])
    torch.testing.assert_close(found[..., :width], expected[..., :width], rtol=0, atol=1e-4)


@pytest.mark.parametrize("language", ["qwen2", "internlm2"])
@pytest.mark.parametrize("tower", ["clip", "whole_clip"])
def test_both_adapters_and_the_projector_are_merged(language: str, tower: str, tmp_path: Path) -> None:
    speaking, seeing = tiny_folder(language, tmp_path / "llm"), tower_folder(tower, tmp_path / "clip")
    lora, tower_lora = random_lora(speaking), _tower_lora(seeing)
    state = {
        **prefixed("visual_encoder.", _as_xtuner(tower_lora)),
        **prefixed("llm.", lora),
        **prefixed("projector.", _projector()),
    }
    config = CONFIG.format(language=str(speaking), tower=str(seeing), pads=True)
    pth = write_zero2(tmp_path / "iter_5198.pth", state, num_processes=2, config=config)

    said = convert_pth(PthRequest(pth, tmp_path / "joined"))

    assert "+ its adapter" in said and "tunesmith chat" in said
    _assert_same(
        tmp_path / "joined",
        with_lora_by_hand(speaking, lora, tmp_path / "llm_by_hand"),
        with_lora_by_hand(seeing, tower_lora, tmp_path / "clip_by_hand"),
    )


def test_xtuners_own_folder_gives_the_same_as_its_checkpoint(tmp_path: Path) -> None:
    speaking, seeing = tiny_folder("llama", tmp_path / "llm"), tower_folder("clip", tmp_path / "clip")
    lora, tower_lora = random_lora(speaking), _tower_lora(seeing)
    state = {
        **prefixed("visual_encoder.", _as_xtuner(tower_lora)),
        **prefixed("llm.", lora),
        **prefixed("projector.", _projector()),
    }
    pth = write_pth(tmp_path / "iter_1.pth", state)
    parts = tmp_path / "parts"
    (tmp_path / "config.py").write_text(CONFIG.format(language=str(speaking), tower=str(seeing), pads=False))

    convert_pth(PthRequest(pth, parts, config=tmp_path / "config.py", keeps_parts=True))
    assert sorted(place.name for place in parts.iterdir()) == ["llm_adapter", "projector", "visual_encoder_adapter"]
    convert_llava_folder(parts, BaseModels(str(speaking), str(seeing)), tmp_path / "joined")

    _assert_same(
        tmp_path / "joined",
        with_lora_by_hand(speaking, lora, tmp_path / "llm_by_hand"),
        with_lora_by_hand(seeing, tower_lora, tmp_path / "clip_by_hand"),
    )


def test_a_language_model_and_a_tower_trained_in_full(tmp_path: Path) -> None:
    speaking, seeing = tiny_folder("llama", tmp_path / "llm"), tower_folder("clip", tmp_path / "clip")
    old_names = {f"vision_model.{name}": tensor + 0.03 for name, tensor in model_weights(seeing).items()}
    trained = {name: tensor + 0.02 for name, tensor in model_weights(speaking).items()}
    state = {
        **prefixed("visual_encoder.", old_names),
        **prefixed("llm.", trained),
        **prefixed("projector.", _projector()),
    }
    config = CONFIG.format(language=str(speaking), tower=str(seeing), pads=True)
    pth = write_pth(tmp_path / "iter_1.pth", state, config=config)
    convert_pth(PthRequest(pth, tmp_path / "parts", keeps_parts=True))
    convert_llava_folder(tmp_path / "parts", BaseModels("unused", "unused"), tmp_path / "joined")
    _assert_same(tmp_path / "joined", *_in_full(speaking, seeing, tmp_path))


def _in_full(speaking: Path, seeing: Path, place: Path) -> tuple[Path, Path]:
    import shutil

    from safetensors.torch import save_file

    folders = []
    for folder, change in ((speaking, 0.02), (seeing, 0.03)):
        target = place / f"{folder.name}_by_hand"
        shutil.copytree(folder, target)
        changed = {name: tensor + change for name, tensor in model_weights(folder).items()}
        save_file(changed, target / "model.safetensors", metadata={"format": "pt"})
        folders.append(target)
    return folders[0], folders[1]


def test_the_first_stage_trained_the_projector_alone(tmp_path: Path) -> None:
    speaking, seeing = tiny_folder("qwen2", tmp_path / "llm"), tower_folder("clip", tmp_path / "clip")
    pth = write_pth(tmp_path / "iter_2181.pth", prefixed("projector.", _projector()))
    with pytest.raises(UsageError, match="give --language_model"):
        convert_pth(PthRequest(pth, tmp_path / "joined"))
    request = PthRequest(pth, tmp_path / "joined", language_model=str(speaking), vision_tower=str(seeing))
    assert "adapter" not in convert_pth(request)
    _assert_same(tmp_path / "joined", speaking, seeing)
    assert not [place for place in tmp_path.iterdir() if place.name.startswith(".")]


def test_pictures_are_made_square_as_in_xtuner(tmp_path: Path) -> None:
    speaking, seeing = tiny_folder("qwen2", tmp_path / "llm"), tower_folder("clip", tmp_path / "clip")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("projector.", _projector()))
    joined = {}
    for pads in (True, False):
        (tmp_path / "config.py").write_text(CONFIG.format(language=str(speaking), tower=str(seeing), pads=pads))
        convert_pth(PthRequest(pth, tmp_path / f"joined_{pads}", config=tmp_path / "config.py"))
        _, joined[pads] = load(tmp_path / f"joined_{pads}", device="cpu")
    pixels = {pads: processor.image_processor(PICTURE, return_tensors="pt") for pads, processor in joined.items()}
    padded, cut = pixels[True]["pixel_values"][0], pixels[False]["pixel_values"][0]
    assert padded.shape == cut.shape == (3, 56, 56)
    border = padded[:, 0]  # the average colour, 0 after normalisation but for rounding to 1/255
    assert border.abs().max() < 0.02 and cut[:, 0].abs().max() > 0.5


def test_another_tower_than_clip_is_refused(tmp_path: Path) -> None:
    speaking, seeing = tiny_folder("qwen2", tmp_path / "llm"), tower_folder("siglip", tmp_path / "siglip")
    pth = write_pth(tmp_path / "iter_1.pth", prefixed("projector.", _projector()))
    with pytest.raises(ModelError, match="give a CLIP model"):
        convert_pth(PthRequest(pth, tmp_path / "out", language_model=str(speaking), vision_tower=str(seeing)))


def test_a_folder_in_another_layout_is_refused(qwen2_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no LLaVA in XTuner's layout: it has no projector/config\.json"):
        convert_llava_folder(qwen2_folder, BaseModels("a", "b"), tmp_path / "out")
