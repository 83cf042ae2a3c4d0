"""Attention in which the samples of one packed sequence cannot see each other, for any model of transformers.

Registered beside transformers' own implementations. A model calls the mask function with the pattern it wants (causal,
sliding window, pictures that attend both ways); here transformers' own function evaluates that pattern for every sample
by itself, and attention then runs sample after sample: no work is spent on pairs of samples. Outside `samples_apart`
(generation, evaluation, padded batches) it is the inner implementation, unchanged.

The model must be given a mask of ones: without one, transformers finds the samples itself by their positions, and reads
the pattern of pictures at the wrong places (Gemma 3's sliding layers, transformers 5.17 to 5.23).

What the samples are travels inside the mask, so that gradient checkpointing recomputes with the same ones.
Knows nothing of positions, batches or losses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from tunesmith.errors import ModelError
from tunesmith.models.parts import core_model, find_parts
from tunesmith.models.quiet import quiet_transformers

_Attention = Callable[..., tuple[Tensor, Tensor | None]]
_MaskFunction = Callable[..., Tensor | None]

_APART = {"sdpa": "tunesmith_sdpa_apart", "eager": "tunesmith_eager_apart"}
"""Names under which transformers knows the implementations here, by the one that each runs inside a sample."""

_lengths: ContextVar[tuple[int, ...]] = ContextVar("lengths of the samples of the packed sequence", default=())


@dataclass(frozen=True, slots=True)
class SampleMasks:
    """In place of a (1, 1, T, T) mask: each sample's own (1, 1, t, t) one, None where it is plainly causal."""

    lengths: tuple[int, ...]
    masks: tuple[Tensor | None, ...]


@contextmanager
def samples_apart(lengths: Sequence[int]) -> Iterator[None]:
    """Inside, a sequence is understood as samples of these lengths, in order; () for ordinary batches."""
    token = _lengths.set(tuple(lengths))
    try:
        yield
    finally:
        _lengths.reset(token)


def sample_lengths() -> tuple[int, ...]:
    """The lengths that `samples_apart` was entered with; () outside of it and for ordinary batches."""
    return _lengths.get()


def split_attention(model: nn.Module) -> bool:
    """Let the language model in `model` attend sample by sample inside `samples_apart`; towers stay as they are.

    False, with nothing changed, where its attention is neither SDPA nor the model's own ("eager").
    """
    language_model = _language_model(model)
    if language_model is None:
        return False
    inner = language_model.config._attn_implementation
    if inner in _APART.values():
        return True
    if inner not in _APART:
        return False
    _set(language_model, _APART[inner])
    taken: bool = language_model.config._attn_implementation == _APART[inner]
    return taken


def restore_attention(model: nn.Module) -> None:
    """Undo `split_attention`."""
    language_model = _language_model(model)
    if language_model is None:
        return
    for inner, apart in _APART.items():
        if language_model.config._attn_implementation == apart:
            _set(language_model, inner)


def _set(language_model: PreTrainedModel, implementation: str) -> None:
    with quiet_transformers():  # it warns of models that cannot, and of configs without a model
        language_model.set_attn_implementation(implementation)


def _language_model(model: nn.Module) -> PreTrainedModel | None:
    try:
        found = core_model(model).get_submodule(find_parts(model).language_model)
    except ModelError:
        return None
    return found if isinstance(found, PreTrainedModel) else None


def _masks_apart(inner: _MaskFunction) -> Callable[..., Tensor | SampleMasks | None]:
    """`inner` where no sequence is packed, else SampleMasks made by it.

    The options are transformers' own between its masks and a mask function; they are handed on as they are, but for
    the piece of the pattern that is asked for.
    """

    def build(**options: Any) -> Tensor | SampleMasks | None:
        lengths = _lengths.get()
        if not lengths:
            return inner(**options)
        if sum(lengths) != options["q_length"] or options["batch_size"] != 1:
            raise RuntimeError(f"a mask over {options['q_length']} tokens was asked for samples of {lengths}")
        starts = accumulate(lengths[:-1], initial=0)
        pieces = (
            {"q_length": length, "kv_length": length, "q_offset": start, "kv_offset": start, "attention_mask": None}
            for start, length in zip(starts, lengths, strict=True)
        )
        return SampleMasks(lengths, tuple(inner(**{**options, **piece}) for piece in pieces))

    return build


def _attend_apart(inner: Callable[[nn.Module], _Attention]) -> _Attention:
    """The attention that `inner` names for a module, sample by sample where the mask is of samples.

    The options are transformers' own between a model and an attention function, and differ from model to model.
    """

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | SampleMasks | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        run = inner(module)
        if not isinstance(attention_mask, SampleMasks):
            return run(module, query, key, value, attention_mask, **options)
        lengths = attention_mask.lengths
        samples = zip(
            *(torch.split(states, list(lengths), dim=2) for states in (query, key, value)),
            attention_mask.masks,
            strict=True,
        )
        outputs = [run(module, *sample, **options)[0] for sample in samples]
        return torch.cat(outputs, dim=1), None

    return attend


def _eager_of(module: nn.Module) -> _Attention:
    """The attention written out in the file of the module's class, under the name that transformers gives it."""
    written: _Attention = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
    return written


AttentionInterface.register(_APART["sdpa"], _attend_apart(lambda _: sdpa_attention_forward))
AttentionInterface.register(_APART["eager"], _attend_apart(_eager_of))
AttentionMaskInterface.register(_APART["sdpa"], _masks_apart(sdpa_mask))
AttentionMaskInterface.register(_APART["eager"], _masks_apart(eager_mask))
