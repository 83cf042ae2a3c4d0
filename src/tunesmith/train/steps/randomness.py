"""Randomness of training that depends on the seed and the step alone.

Every step seeds all generators anew. What happens between two steps (an evaluation, a question asked, a restart) can
then not disturb the next step, and a resumed run draws what the run never interrupted would have drawn.
"""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int) -> None:
    """Seed everything for one step: a 63-bit hash of seed and step, so that neighbouring steps share nothing."""
    words = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)
    seed_everything(int(words[0]) >> 1)
