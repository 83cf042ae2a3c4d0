"""Two answers behind one beginning: log-probabilities and gradients of each row apart, for every architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from tests.invariants.paired_rows import GivenPairs, assert_same, logits_of, weighted
from tests.tiny import KINDS, tiny_folder
from tunesmith.data.batches.packing_trial import build_sharing_trial
from tunesmith.models.packing.positions import find_axis_positions
from tunesmith.models.packing.proof import Packing, prove_sharing
from tunesmith.models.packing.split_attention import split_attention

GivenOf = Callable[[str], GivenPairs]
Found = tuple[Tensor, dict[str, Tensor]]
ALL = range(5)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> GivenOf:
    return cache(lambda kind: GivenPairs(kind, tiny_folder(kind, tmp_path_factory.mktemp(kind))))


def rows_alone(rows: GivenPairs, model: nn.Module) -> Found:
    """Every answer of every pair in a forward of its own."""
    batches = [rows.alone(model, index, number) for index in ALL for number in (0, 1)]
    return weighted(model, batches, [weight for index in ALL for weight in rows.weights(index)])


def together(
    rows: GivenPairs, model: nn.Module, groups: Sequence[Sequence[int]], *, packed: bool = True, shared: bool = True
) -> Found:
    """The pairs of each group in one batch; the log-probabilities in the order of the pairs."""
    batches = [rows.pairs(model, group, packed=packed, shared=shared) for group in groups]
    order = [index for group in groups for index in group]
    weights = [torch.cat([weight for index in group for weight in rows.weights(index)]) for group in groups]
    found, gradients = weighted(model, batches, weights)
    sizes = [sum(map(len, rows.weights(index))) for index in order]
    parts = dict(zip(order, found.split(sizes), strict=True))
    return torch.cat([parts[index] for index in sorted(order)]), gradients


@pytest.mark.parametrize("kind", KINDS)
def test_trees_are_their_rows_apart(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    model = rows.model()
    alone = rows_alone(rows, model)
    padded = together(rows, model, [ALL], packed=False)

    assert split_attention(model)
    packed_apart = together(rows, model, [ALL], shared=False)
    trees = together(rows, model, [ALL])
    reordered = together(rows, model, [[4, 2], [3, 0, 1]])

    for found in (padded, packed_apart, trees, reordered):
        assert_same(alone, found)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_proven_on_the_pairs_themselves(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    trial = build_sharing_trial(
        rows.examples,
        rows.media_of,
        shared=rows.collator(packed=True, shared=True),
        padded=rows.collator(packed=False),
    )
    assert trial is not None
    model = rows.model().float()
    assert split_attention(model)
    found = prove_sharing(model, Packing(splits=True, axes=find_axis_positions(model)), trial)
    assert isinstance(found, Packing), found
    assert found.shares


@pytest.mark.parametrize("kind", ["gemma3_text", "gemma3"])
@pytest.mark.parametrize("window", [3, 7, 30])
def test_a_sliding_window_that_ends_inside_the_beginning_or_the_answer(kind: str, window: int, given: GivenOf) -> None:
    rows = given(kind)
    model = rows.model()
    whole = rows_alone(rows, model)
    model.config.get_text_config().sliding_window = window
    alone = rows_alone(rows, model)
    assert (whole[0] - alone[0]).abs().max() > 1e-3

    assert split_attention(model)
    assert_same(alone, together(rows, model, [ALL]))


@pytest.mark.parametrize("kind", ["qwen2", "gemma3", "qwen2_5_vl", "llava"])
def test_under_lora_and_with_checkpointed_activations(kind: str, given: GivenOf) -> None:
    rows = given(kind)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(rows.model(), config).double().train()
    alone = rows_alone(rows, model)

    assert split_attention(model)
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trees = together(rows, model, [ALL])
    assert all("lora_" in name for name in trees[1])
    assert_same(alone, trees)


def test_a_beginning_and_its_pictures_are_computed_once(given: GivenOf) -> None:
    rows = given("qwen2_5_vl")
    model = rows.model()
    assert split_attention(model)
    patches: list[int] = []
    tokens: list[int] = []
    model.model.visual.patch_embed.register_forward_hook(lambda _, inputs, __: patches.append(len(inputs[0])))
    model.model.language_model.layers[0].register_forward_hook(lambda _, __, output: tokens.append(output.shape[1]))
    pair = rows.examples[2]  # a picture and a video
    apart, tree = (rows.pairs(model, [2], packed=True, shared=shared) for shared in (False, True))
    logits_of(model, apart)
    num_apart = sum(patches)
    logits_of(model, tree)
    assert num_apart == 2 * (sum(patches) - num_apart)
    assert tokens == [2 * pair.num_shared + sum(pair.branches), pair.num_shared + sum(pair.branches)]
