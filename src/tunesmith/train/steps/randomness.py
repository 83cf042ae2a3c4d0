"""Randomness of training that depends on the seed, the step and the micro-batch alone.

Every micro-batch seeds all generators anew. What happens before it (an evaluation, a question asked, a restart) can
then not disturb it, a resumed run draws what the run never interrupted would have drawn, and it draws the same in
whichever process it runs.
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


def seed_micro_batch(seed: int, step: int, number: int) -> None:
    """Seed everything for micro-batch `number` (from 0) of a step: a 63-bit hash of the three, so that neighbours share
    nothing."""
    words = np.random.SeedSequence((seed, step, number)).generate_state(1, np.uint64)
    seed_everything(int(words[0]) >> 1)
