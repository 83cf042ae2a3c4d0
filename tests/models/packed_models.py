"""Tiny models of many architectures from their configs alone, and samples of text to try packing with."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tunesmith.models.packing.positions import restarting_positions
from tunesmith.models.packing.proof import Trial
from tunesmith.models.quiet import quiet_transformers

_SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_OWN: dict[str, dict[str, Any]] = {
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "bloom": {"n_head": 4, "n_layer": 2},
    "mistral": {"sliding_window": 8},
    "llama4_text": {"attention_chunk_size": 16, "num_local_experts": 2, "intermediate_size_mlp": 48},
    "mamba": {"state_size": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 32},
    "qwen3_5_text": _DELTA,
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
}


def tiny_text_model(kind: str, **changes: Any) -> PreTrainedModel:
    """A float32 model with random weights large enough that every part of it shows, the same on every call."""
    config = AutoConfig.for_model(kind, **{**_SIZES, **_OWN.get(kind, {}), **changes})
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.train()


def text_trial(first: int = 21, second: int = 33) -> Trial:
    """Two samples of random ids, of these lengths."""
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randint(2, 96, (1, length), generator=generator) for length in (first, second)]
    longest = max(first, second)
    rows = torch.cat([functional.pad(ids, (0, longest - ids.shape[1])) for ids in samples])
    mask = (torch.arange(longest) < torch.tensor([[first], [second]])).long()
    return Trial(
        lengths=(first, second),
        packed={
            "input_ids": torch.cat(samples, dim=1),
            "position_ids": torch.cat([torch.arange(first), torch.arange(second)])[None],
        },
        padded={"input_ids": rows, "attention_mask": mask},
        alone=tuple({"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in samples),
    )


def text_tree_trial(beginning: int = 17, answers: tuple[int, int] = (9, 13)) -> Trial:
    """One sample of random ids with two answers."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 96, (1, beginning + sum(answers)), generator=generator)
    first, second = torch.split(ids[:, beginning:], list(answers), dim=1)
    rows = [torch.cat([ids[:, :beginning], answer], dim=1) for answer in (first, second)]
    longest = max(row.shape[1] for row in rows)
    padded = torch.cat([functional.pad(row, (0, longest - row.shape[1])) for row in rows])
    return Trial(
        lengths=(ids.shape[1],),
        packed={"input_ids": ids, "position_ids": restarting_positions((ids.shape[1],), (answers,))},
        padded={"input_ids": padded, "attention_mask": (padded > 0).long()},
        alone=tuple({"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows),
        branches=(answers,),
    )
