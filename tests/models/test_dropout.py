from __future__ import annotations

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Dinov2Config,
    Dinov2Model,
    GPT2Config,
    Qwen2AudioEncoderConfig,
    Qwen2Config,
)
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from tunesmith.models.dropout import switch_off_dropout

_SIZES = {"vocab_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 0}


def in_training(model: nn.Module) -> torch.Tensor:
    ids = torch.arange(8)[None]
    return model.train()(input_ids=ids).logits


def test_modules_and_the_numbers_that_attention_drops_with_are_switched_off() -> None:
    """Qwen2 drops attention by a number, GPT-2 by modules."""
    sizes = {**_SIZES, "hidden_size": 16, "intermediate_size": 16, "num_key_value_heads": 2}
    configs = [Qwen2Config(**sizes, attention_dropout=0.5), GPT2Config(**{**_SIZES, "n_embd": 16, "n_layer": 1})]
    for config in configs:
        model = AutoModelForCausalLM.from_config(config)
        assert not torch.equal(in_training(model), in_training(model))

        assert switch_off_dropout(model)

        assert torch.equal(in_training(model), in_training(model))
        assert not switch_off_dropout(model)


def test_towers_that_leave_out_whole_layers_or_branches_of_them_run_all() -> None:
    """Encoders of Whisper's kind draw which layers run, DINOv2 which branches."""
    audio = Qwen2AudioEncoderConfig(
        d_model=16,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        encoder_layerdrop=0.5,
        num_mel_bins=8,
    )
    vision = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=1, image_size=28, drop_path_rate=0.9
    )
    given = {Qwen2AudioEncoder(audio): torch.randn(1, 8, 3000), Dinov2Model(vision): torch.randn(2, 3, 28, 28)}
    for tower, values in given.items():
        tower.train()
        runs = [tower(values).last_hidden_state for _ in range(6)]
        assert not all(torch.equal(run, runs[0]) for run in runs)

        assert switch_off_dropout(tower)

        runs = [tower(values).last_hidden_state for _ in range(6)]
        assert all(torch.equal(run, runs[0]) for run in runs)
