"""Randomness follows from seed and step alone."""

from __future__ import annotations

import random

import numpy as np
import torch

from tunesmith.train.steps.randomness import seed_step


def draw(seed, step):
    seed_step(seed, step)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_a_step_draws_the_same_whatever_came_before():
    first = draw(42, 7)
    torch.rand(1000)
    assert draw(42, 7) == first


def test_seeds_and_steps_share_nothing():
    draws = [draw(seed, step) for seed in (1, 2) for step in (1, 2, 3)]
    assert len({value for values in draws for value in values}) == 3 * len(draws)
