"""Pixel budgets of images and frames give LLaMA-Factory's sizes."""

from __future__ import annotations

import pytest
from PIL import Image

from tunesmith.media.budget import apply_budget, budget_size


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((1920, 1080), {}, (1920, 1080)),
        ((1920, 1080), {"max_pixels": 262144}, (682, 384)),
        ((512, 512), {"max_pixels": 262144}, (512, 512)),
        ((20, 30), {"min_pixels": 1024}, (26, 39)),
        ((32, 32), {"min_pixels": 1024, "max_pixels": 262144}, (32, 32)),
        ((100_000, 2), {"max_pixels": 10_000}, (22360, 1)),
    ],
)
def test_sides_shrink_or_grow_by_the_root_of_the_areas(
    size: tuple[int, int], limits: dict[str, int], expected: tuple[int, int]
) -> None:
    assert budget_size(size, **limits) == expected


def test_an_image_gets_exactly_the_size_that_was_counted() -> None:
    image = Image.new("RGB", (333, 777), "green")
    resized = apply_budget(image, max_pixels=5000)
    assert resized.size == budget_size(image.size, max_pixels=5000) == (46, 108)
    assert apply_budget(image, min_pixels=10) is image
