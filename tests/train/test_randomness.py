"""Randomness follows from seed, step and micro-batch alone."""

from __future__ import annotations

import random

import numpy as np
import torch

from tunesmith.train.steps.randomness import seed_micro_batch


def draw(seed, step, number=0):
    seed_micro_batch(seed, step, number)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_a_micro_batch_draws_the_same_whatever_came_before():
    first = draw(42, 7)
    torch.rand(1000)
    assert draw(42, 7) == first


def test_seeds_steps_and_micro_batches_share_nothing():
    draws = [draw(seed, step, number) for seed in (1, 2) for step in (1, 2, 3) for number in (0, 1)]
    assert len({value for values in draws for value in values}) == 3 * len(draws)
