"""Tiny float64 models of real architectures and batches for them, for tests that compare numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    PhiConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
)

VOCAB = 96
IMAGE_ID, VISION_START_ID = 90, 91
_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 1}
_TEXT_CONFIGS: dict[str, Callable[[], object]] = {
    "qwen2": lambda: Qwen2Config(**_GROUPED, tie_word_embeddings=False),
    "qwen2_tied": lambda: Qwen2Config(**_GROUPED, tie_word_embeddings=True),
    "gemma2": lambda: Gemma2Config(**_GROUPED, head_dim=8, final_logit_softcapping=2.0),
    "gemma3_text": lambda: Gemma3TextConfig(**_GROUPED, head_dim=8, final_logit_softcapping=2.0),
    "cohere2": lambda: Cohere2Config(**_GROUPED, logit_scale=0.25),
    "granite": lambda: GraniteConfig(**_GROUPED, logits_scaling=4.0),
    "phi": lambda: PhiConfig(**_SIZES),  # its head has a bias
}
TEXT_KINDS = tuple(_TEXT_CONFIGS)


def tiny_model(kind: str) -> PreTrainedModel:
    """A float64 model with random weights of ordinary size, the same on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _build_vision() if kind == "qwen2_5_vl" else AutoModelForCausalLM.from_config(_TEXT_CONFIGS[kind]())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.double().train()


def _build_vision() -> PreTrainedModel:
    config = Qwen2_5_VLConfig(
        text_config={
            **_GROUPED,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        image_token_id=IMAGE_ID,
        vision_start_token_id=VISION_START_ID,
        tie_word_embeddings=False,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def row(length: int, *, seed: int, supervised_from: int) -> tuple[Tensor, Tensor]:
    """(T,) random ids and labels, the first `supervised_from` of them outside the loss."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 88, (length,), generator=generator)
    labels = ids.clone()
    labels[:supervised_from] = -100
    return ids, labels


def padded(rows: list[tuple[Tensor, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    """Rows of ids and labels as right-padded (B, T) inputs and labels."""
    ids = torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True, padding_value=0)
    labels = torch.nn.utils.rnn.pad_sequence([row[1] for row in rows], batch_first=True, padding_value=-100)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row[0]) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask}, labels


def text_batch() -> tuple[dict[str, Tensor], Tensor]:
    """Three rows of different lengths, one with a single supervised token."""
    return padded(
        [row(9, seed=1, supervised_from=3), row(5, seed=2, supervised_from=4), row(7, seed=3, supervised_from=0)]
    )


def with_image(ids: Tensor, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """One image of 2 × 2 merged patches put before a row: ids, labels, (16, 1176) float64 patches."""
    image = torch.tensor([VISION_START_ID, *[IMAGE_ID] * 4])
    patches = torch.randn(16, 1176, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([image, ids]), torch.cat([torch.full((5,), -100), labels]), patches


def vision_batch() -> tuple[dict[str, Tensor], Tensor]:
    """Two rows, each with an image."""
    first = with_image(*row(6, seed=4, supervised_from=2), seed=5)
    second = with_image(*row(4, seed=6, supervised_from=1), seed=7)
    inputs, labels = padded([first[:2], second[:2]])
    inputs["pixel_values"] = torch.cat([first[2], second[2]])
    inputs["image_grid_thw"] = torch.tensor([[1, 4, 4], [1, 4, 4]])
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE_ID).long()
    return inputs, labels


def batch_of(kind: str) -> tuple[dict[str, Tensor], Tensor]:
    """A batch that suits the model `kind`."""
    return vision_batch() if kind == "qwen2_5_vl" else text_batch()
