"""Noise on the embeddings: its size, and only while training."""

from __future__ import annotations

import math

import torch

from tunesmith.models.packing.split_attention import samples_apart
from tunesmith.train.steps.neftune import noisy_embeddings


def test_noise_is_uniform_within_alpha_over_the_root_of_t_times_h():
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(50, 64)
    ids = torch.randint(0, 50, (2, 100))
    with noisy_embeddings(embedding, alpha=5.0):
        noise = embedding(ids) - torch.nn.functional.embedding(ids, embedding.weight)
        bound = 5.0 / math.sqrt(100 * 64)
        assert 0.98 * bound < noise.abs().max() <= bound * 1.001
        assert abs(noise.mean()) < 0.02 * bound
        embedding.eval()
        assert torch.equal(embedding(ids), torch.nn.functional.embedding(ids, embedding.weight))


def test_samples_of_one_sequence_get_the_noise_of_their_own_length():
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(50, 64)
    ids = torch.randint(0, 50, (1, 1000))
    with noisy_embeddings(embedding, alpha=5.0), samples_apart((100, 900)):
        noise = embedding(ids) - torch.nn.functional.embedding(ids, embedding.weight)
    for part in noise.split((100, 900), dim=1):
        bound = 5.0 / math.sqrt(part.shape[1] * 64)
        assert 0.98 * bound < part.abs().max() <= bound * 1.001


def test_an_answer_gets_the_noise_of_the_row_it_would_be():
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(50, 64)
    ids = torch.randint(0, 50, (1, 1000))
    with noisy_embeddings(embedding, alpha=5.0), samples_apart((1000,), ((300, 600),)):
        noise = embedding(ids) - torch.nn.functional.embedding(ids, embedding.weight)
    for part, length in ((noise[:, :400], 400), (noise[:, 400:], 700)):
        bound = 5.0 / math.sqrt(length * 64)
        assert 0.98 * bound < part.abs().max() <= bound * 1.001


def test_without_alpha_and_afterwards_there_is_none():
    embedding = torch.nn.Embedding(5, 4)
    ids = torch.tensor([[1, 2]])
    with noisy_embeddings(embedding, alpha=None):
        assert torch.equal(embedding(ids), embedding.weight[ids])
    with noisy_embeddings(embedding, alpha=5.0):
        assert not torch.equal(embedding(ids), embedding.weight[ids])
    assert torch.equal(embedding(ids), embedding.weight[ids])
