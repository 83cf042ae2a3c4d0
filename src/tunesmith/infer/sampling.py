"""Sampling options in transformers' words, and the ids at which an answer ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import GenerationConfig

from tunesmith.infer.engine import SamplingOptions


def build_generation_config(options: SamplingOptions, *, stop_ids: Iterable[int], pad_id: int) -> GenerationConfig:
    """transformers' GenerationConfig with every sampling value set, so that none comes from the model's own file.

    A temperature of 0, or `do_sample: false`, is greedy.
    """
    greedy = not options.do_sample or options.temperature == 0
    # A greedy config must hold the neutral values: transformers warns about any other.
    sampling = (1.0, 1.0, 50) if greedy else (options.temperature, options.top_p, options.top_k)
    temperature, top_p, top_k = sampling
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=not greedy,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        repetition_penalty=options.repetition_penalty,
        max_new_tokens=options.max_new_tokens,
        eos_token_id=sorted(stop_ids),
        pad_token_id=pad_id,
        use_cache=True,
    )


def as_ids(value: Any) -> set[int]:
    """An id, a list of ids or None, as configs hold them, as a set."""
    if value is None:
        return set()
    return {int(value)} if isinstance(value, int) else {int(one) for one in value}
