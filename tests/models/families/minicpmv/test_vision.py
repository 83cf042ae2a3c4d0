"""The tower sees every slice as if it were alone, and a slice of its own grid as SigLIP does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from tests.models.families.minicpmv.known_weights import give_known_weights
from tunesmith.models.families.minicpmv.vision import PatchEmbeddings, VisionTower

SIZES = [[8, 8], [3, 21], [6, 9], [21, 3], [6, 9], [1, 1]]
FLOAT32_STEPS = {25: [5, 10, 15, 20], 49: [7, 14, 35, 42], 77: [55], 100: [10, 20, 30, 40, 80]}
"""Of slices so many patches high: rows that fall to the part (of 70) before the one that exact fractions would give."""


def build_config(**changes: int) -> SiglipVisionConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return SiglipVisionConfig(**{**sizes, "image_size": 112, "patch_size": 14, "vision_use_head": False, **changes})


def build_tower(attention: str = "sdpa") -> VisionTower:
    config = build_config()
    config._attn_implementation = attention
    tower = VisionTower(config).double().eval()
    give_known_weights(tower, "vpm.")
    return tower


def pixels_of(sizes: list[list[int]]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(sum(high * wide for high, wide in sizes), 3, 14, 14, generator=generator, dtype=torch.float64)


def as_pictures(pixels: Tensor, high: int, wide: int) -> Tensor:
    """Patches of one slice, row by row, as one picture (1, 3, height, width)."""
    return pixels.view(high, wide, 3, 14, 14).permute(2, 0, 3, 1, 4).reshape(1, 3, high * 14, wide * 14)


def gradients_of(tower: VisionTower) -> dict[str, Tensor]:
    tower.zero_grad()
    tower(pixels_of(SIZES), SIZES).square().sum().backward()
    return {name: weight.grad for name, weight in tower.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_slices_together_are_slices_alone(attention: str) -> None:
    tower, pixels = build_tower(attention), pixels_of(SIZES)
    pieces = pixels.split([high * wide for high, wide in SIZES])

    together = tower(pixels, SIZES)
    alone = torch.cat([tower(piece, [size]) for piece, size in zip(pieces, SIZES, strict=True)])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6 if attention == "eager" else 1e-12)


def test_a_slice_as_large_as_the_grid_of_positions_is_seen_as_siglip_sees_it() -> None:
    tower, pixels = build_tower(), pixels_of([[8, 8]])
    siglip = SiglipVisionModel(build_config()).double().eval()
    loaded = siglip.vision_model if hasattr(siglip, "vision_model") else siglip
    loaded.load_state_dict(tower.state_dict())

    expected = siglip(as_pictures(pixels, 8, 8)).last_hidden_state[0]

    torch.testing.assert_close(tower(pixels, [[8, 8]]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_high", FLOAT32_STEPS)
def test_positions_on_a_border_follow_the_published_float32_steps(num_high: int) -> None:
    embeddings = PatchEmbeddings(build_config(image_size=980))

    rows = embeddings._positions([[num_high, 1]]) // 70

    exact = torch.arange(num_high) * 70 // num_high
    assert (exact - rows).nonzero().flatten().tolist() == FLOAT32_STEPS[num_high]
    assert (exact - rows).max() == 1


def test_slices_larger_than_the_grid_share_positions() -> None:
    embeddings = PatchEmbeddings(build_config())

    assert embeddings._positions([[1, 16]]).tolist() == [column // 2 for column in range(16)]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")  # renamed in newer versions
def test_every_weight_trains_and_checkpointing_changes_nothing() -> None:
    tower = build_tower().train()
    plain = gradients_of(tower)

    tower.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    checkpointed = gradients_of(tower)

    assert plain.keys() == checkpointed.keys() == dict(tower.named_parameters()).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=0, atol=0)


def test_what_was_seen_without_gradients_is_no_hindrance_to_training() -> None:
    tower = build_tower().train()
    with torch.inference_mode():
        tower(pixels_of([[5, 13]]), [[5, 13]])

    tower(pixels_of([[5, 13]]), [[5, 13]]).sum().backward()

    assert tower.embeddings.position_embedding.weight.grad is not None
