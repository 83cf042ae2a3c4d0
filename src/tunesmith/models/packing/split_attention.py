"""Attention in which the samples of one packed sequence cannot see each other, for any model of transformers.

Registered beside transformers' own implementations. A model calls the mask function with the pattern it wants (causal,
sliding window, pictures that attend both ways); here transformers' own function evaluates that pattern for every sample
by itself, and attention then runs sample after sample: no work is spent on pairs of samples. Outside `samples_apart`
(generation, evaluation, padded batches) it is the inner implementation, unchanged.

Of a sample with several answers the beginning and the first answer are one causal row; the queries of a further answer
see the beginning's keys and its own. Its pattern is asked for at the place of the first answer, right behind the
beginning, so that distances are what they would be in a row by itself. What the pattern depends on beside distances is
read there too, which is the same: answers are text throughout.

The model must be given a mask of ones: without one, transformers finds the samples itself by their positions, and reads
the pattern of pictures at the wrong places (Gemma 3's sliding layers, transformers 5.17 to 5.23).

Which tokens see which travels inside the mask, so that gradient checkpointing recomputes with the same ones.
Knows nothing of positions, batches or losses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from tunesmith.errors import ModelError
from tunesmith.models.packing.strands import Strand, strands_of
from tunesmith.models.parts import core_model, find_parts
from tunesmith.models.quiet import quiet_transformers

_Attention = Callable[..., tuple[Tensor, Tensor | None]]
_MaskFunction = Callable[..., Tensor | None]

_APART = {"sdpa": "tunesmith_sdpa_apart", "eager": "tunesmith_eager_apart"}
"""Names under which transformers knows the implementations here, by the one that each runs inside a sample."""

_strands: ContextVar[tuple[Strand, ...]] = ContextVar("strands of the packed sequence", default=())


@dataclass(frozen=True, slots=True)
class StrandMask:
    """What the `queries` of a strand may see of its `length` keys, the shared beginning's first.

    mask: (1, 1, queries, length) as the inner attention takes it, or None where plainly causal
    """

    strand: Strand
    queries: int
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class SampleMasks:
    """In place of a (1, 1, T, T) mask: each strand's own."""

    strands: tuple[StrandMask, ...]


@contextmanager
def samples_apart(lengths: Sequence[int], branches: Sequence[tuple[int, ...]] = ()) -> Iterator[None]:
    """Inside, a sequence is understood as samples of these lengths, in order; () for ordinary batches.

    branches: for each sample the tokens of its several answers, () for a plain one; () where no sample has any
    """
    token = _strands.set(strands_of(lengths, branches))
    try:
        yield
    finally:
        _strands.reset(token)


def strands_apart() -> tuple[Strand, ...]:
    """What `samples_apart` made of the sequence; () outside of it and for ordinary batches."""
    return _strands.get()


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
        strands = _strands.get()
        if not strands:
            return inner(**options)
        if strands[-1].stop != options["q_length"] or options["batch_size"] != 1:
            lengths = tuple(strand.num_tokens for strand in strands)
            raise RuntimeError(f"a mask over {options['q_length']} tokens was asked for samples of {lengths}")

        def piece(strand: Strand, queries: int) -> Tensor | None:
            """The pattern of a row of the strand's length at its sample's place, for its last `queries` tokens."""
            place = {"q_offset": strand.root + strand.length - queries, "kv_offset": strand.root}
            return inner(
                **{**options, **place, "q_length": queries, "kv_length": strand.length, "attention_mask": None}
            )

        return SampleMasks(tuple(_mask_of(strand, piece) for strand in strands))

    return build


def _mask_of(strand: Strand, piece: Callable[[Strand, int], Tensor | None]) -> StrandMask:
    """The strand's mask. Attention that is plainly causal needs none where there are as many queries as keys, and then
    skips what is not seen; so a beginning no longer than the answer asks again, and its outputs are thrown away.
    """
    if strand.shared <= strand.num_tokens:
        mask = piece(strand, strand.length)
        if mask is None or not strand.shared:
            return StrandMask(strand, strand.length, mask)
    return StrandMask(strand, strand.num_tokens, piece(strand, strand.num_tokens))


def _attend_apart(inner: Callable[[nn.Module], _Attention]) -> _Attention:
    """The attention that `inner` names for a module, strand by strand where the mask is of samples.

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
        outputs = []
        for part, queries, keys, values in _strand_states(attention_mask.strands, query, key, value):
            output = run(module, queries, keys, values, part.mask, **options)[0]  # (1, queries, heads, head)
            again = part.queries - part.strand.num_tokens
            outputs.append(output[:, again:] if again else output)
        return torch.cat(outputs, dim=1), None

    return attend


def _strand_states(
    strands: Sequence[StrandMask], query: Tensor, key: Tensor, value: Tensor
) -> Iterator[tuple[StrandMask, Tensor, Tensor, Tensor]]:
    """The (1, heads, tokens, head) queries, keys and values that each strand's attention runs on."""
    sizes = [part.strand.num_tokens for part in strands]
    queries, keys, values = (torch.split(states, sizes, dim=2) for states in (query, key, value))
    first = 0
    for number, part in enumerate(strands):
        strand, own = part.strand, queries[number]
        if not strand.shared:
            first = number
            yield part, own, keys[number], values[number]
            continue
        if part.queries > strand.num_tokens:
            own = _behind(queries[first], own, shared=strand.shared)
        own_keys = _behind(keys[first], keys[number], shared=strand.shared)
        yield part, own, own_keys, _behind(values[first], values[number], shared=strand.shared)


def _behind(beginning: Tensor, own: Tensor, *, shared: int) -> Tensor:
    """(1, heads, shared + tokens, head): the `shared` first states of `beginning`, then `own`."""
    return torch.cat([beginning[:, :, :shared], own], dim=2)


def _eager_of(module: nn.Module) -> _Attention:
    """The attention written out in the file of the module's class, under the name that transformers gives it."""
    written: _Attention = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
    return written


AttentionInterface.register(_APART["sdpa"], _attend_apart(lambda _: sdpa_attention_forward))
AttentionInterface.register(_APART["eager"], _attend_apart(_eager_of))
AttentionMaskInterface.register(_APART["sdpa"], _masks_apart(sdpa_mask))
AttentionMaskInterface.register(_APART["eager"], _masks_apart(eager_mask))
