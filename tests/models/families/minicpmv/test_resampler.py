"""The resampler against a plain one: padded batches and torch's own multi-head attention, with the same weights."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tests.models.families.minicpmv.known_weights import give_known_weights
from tunesmith.models.families.minicpmv.resampler import Resampler

WIDTH, PATCH_WIDTH, NUM_QUERIES, NUM_HEADS = 32, 16, 4, 2
SIZES = [[4, 4], [2, 7], [2, 7], [7, 2], [3, 3], [80, 2]]
GROUPS = [1, 3, 2]
TIMES = [-1, 0, 5, 11, 72_345, 3]


def build_resampler(patch_width: int = PATCH_WIDTH) -> Resampler:
    resampler = Resampler(num_queries=NUM_QUERIES, width=WIDTH, num_heads=NUM_HEADS, patch_width=patch_width).double()
    give_known_weights(resampler, "resampler.")
    return resampler.eval()


def patches_of(sizes: list[list[int]], width: int = PATCH_WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(sum(high * wide for high, wide in sizes), width, generator=generator, dtype=torch.float64)


def sincos(position: int, width: int) -> Tensor:
    """One position, sines first, in float32 as published."""
    steps = torch.arange(width // 2, dtype=torch.float32) / (width / 2)
    angles = position * (1.0 / 10000**steps)
    return torch.cat([angles.sin(), angles.cos()]).double()


def plain(resampler: Resampler, patches: Tensor, groups: list[int], times: list[int]) -> Tensor:
    """What the resampler should give, group by group of padded slices."""
    attention = nn.MultiheadAttention(WIDTH, NUM_HEADS, batch_first=True).double().eval()
    attention.load_state_dict(resampler.attn.state_dict())
    values = resampler.ln_kv(resampler.kv_proj(patches)).split([high * wide for high, wide in SIZES])
    keys = [
        states
        + torch.stack([place(row, column) for row in range(high) for column in range(wide)])
        + (sincos(time, WIDTH) if time >= 0 else 0)
        for states, (high, wide), time in zip(values, SIZES, times, strict=True)
    ]
    joined = [
        [torch.cat(states[sum(groups[:at]) :][:size]) for at, size in enumerate(groups)] for states in (keys, values)
    ]
    lengths = torch.tensor([len(states) for states in joined[0]])
    padded = [pad_sequence(states, batch_first=True) for states in joined]
    is_padding = torch.arange(int(lengths.max())) >= lengths[:, None]
    queries = resampler.ln_q(resampler.query).expand(len(groups), -1, -1)
    looked = attention(queries, *padded, key_padding_mask=is_padding, need_weights=False)[0]
    result: Tensor = resampler.ln_post(looked) @ resampler.proj
    return result


def place(row: int, column: int) -> Tensor:
    return torch.cat([sincos(column, WIDTH // 2), sincos(row, WIDTH // 2)])


def test_slices_of_many_sizes() -> None:
    resampler, patches = build_resampler(), patches_of(SIZES)

    expected = plain(resampler, patches, [1] * len(SIZES), [-1] * len(SIZES))

    torch.testing.assert_close(resampler(patches, SIZES), expected, rtol=0, atol=1e-6)


def test_groups_of_frames_that_carry_their_times() -> None:
    resampler, patches = build_resampler(), patches_of(SIZES)

    found = resampler(patches, SIZES, GROUPS, TIMES)

    assert found.shape == (3, NUM_QUERIES, WIDTH)
    torch.testing.assert_close(found, plain(resampler, patches, GROUPS, TIMES), rtol=0, atol=1e-6)


def test_a_still_is_seen_the_same_whether_or_not_there_is_a_video_beside_it() -> None:
    resampler, patches = build_resampler(), patches_of(SIZES)

    torch.testing.assert_close(resampler(patches, SIZES, GROUPS, TIMES)[0], resampler(patches, SIZES)[0])


def test_frames_of_a_group_are_told_apart_by_time_alone() -> None:
    resampler, patches = build_resampler(), patches_of([[3, 3], [3, 3]])
    swapped = patches.roll(9, dims=0)
    sizes = [[3, 3], [3, 3]]

    assert torch.allclose(resampler(patches, sizes, [2], [-1, -1]), resampler(swapped, sizes, [2], [-1, -1]))
    assert torch.allclose(resampler(patches, sizes, [2], [4, 9]), resampler(swapped, sizes, [2], [9, 4]))
    assert not torch.allclose(resampler(patches, sizes, [2], [4, 9]), resampler(swapped, sizes, [2], [4, 9]))


def test_a_tower_as_wide_as_the_language_model_needs_no_projection() -> None:
    resampler = build_resampler(patch_width=WIDTH)

    assert "kv_proj.weight" not in resampler.state_dict()
    assert resampler(patches_of([[3, 3]], WIDTH), [[3, 3]]).shape == (1, NUM_QUERIES, WIDTH)


def test_parameters_are_named_as_published_and_nothing_else_is_kept() -> None:
    resampler = build_resampler()

    assert set(resampler.state_dict()) == {
        *("query", "proj", "kv_proj.weight"),
        *("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"),
        *(f"{norm}.{kind}" for norm in ("ln_q", "ln_kv", "ln_post") for kind in ("weight", "bias")),
    }
    assert not list(resampler.buffers())


@pytest.mark.parametrize("target", ["out_proj", "kv_proj"])
def test_lora_acts_on_its_layers(target: str) -> None:
    resampler, patches = build_resampler(), patches_of(SIZES)
    before = resampler(patches, SIZES)

    inject_adapter_in_model(LoraConfig(target_modules=[target], init_lora_weights=False), resampler)

    assert not torch.allclose(resampler.double()(patches, SIZES), before)


def test_recomputing_in_the_backward_pass_changes_nothing() -> None:
    resampler, patches = build_resampler().train(), patches_of(SIZES)

    def gradients() -> dict[str, Tensor | None]:
        resampler.zero_grad()
        resampler(patches, SIZES, GROUPS, TIMES).square().sum().backward()
        return {name: weight.grad for name, weight in resampler.named_parameters()}

    plainly = gradients()
    resampler.gradient_checkpointing = True
    resampler._gradient_checkpointing_func = lambda run, *given: torch.utils.checkpoint.checkpoint(
        run, *given, use_reentrant=False
    )
    recomputed = gradients()

    assert all(gradient is not None for gradient in plainly.values())
    torch.testing.assert_close(recomputed, plainly, rtol=0, atol=0)
