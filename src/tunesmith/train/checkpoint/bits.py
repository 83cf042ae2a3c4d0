"""A number that stands for all the bits of a tensor, and adds up over its parts.

The tensor's bytes are read as 64-bit words, word k is multiplied by 2k + 1, and the products are added modulo 2^64. As
the multipliers are odd, no single changed word goes unnoticed, and two exchanged ones neither; as it is a sum, each
process can take it over the part it holds, wherever the cuts are. It costs one pass over the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORD_BYTES = 8
_CPU_WORDS, _GPU_WORDS = 1 << 16, 1 << 24
"""Words taken at a time: what stays in a core's cache, and what keeps a GPU busy."""
_MODULUS = 2**64


def sum_bits(values: Tensor, *, start: int = 0) -> Tensor:
    """() int64 on the device of `values`, numbers that begin after `start` numbers of their whole tensor.

    The sums of all parts of a tensor add up, modulo 2^64, to the sum of the whole.
    """
    word, words = _as_words(values.detach(), start_bytes=start * values.element_size())
    size = _CPU_WORDS if words.device.type == "cpu" else _GPU_WORDS
    places = torch.arange(min(size, max(words.numel(), 1)), device=words.device)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for offset in range(0, words.numel(), size):
        chunk = words[offset : offset + size]
        inside = places[: chunk.numel()]
        weighted = torch.dot(chunk, inside) if chunk.device.type == "cpu" else (chunk * inside).sum()
        total += 2 * weighted + (2 * (word + offset) + 1) * chunk.sum()
    return total


def as_text(total: int) -> str:
    """The sum as 16 hexadecimal digits."""
    return f"{total % _MODULUS:016x}"


def _as_words(values: Tensor, *, start_bytes: int) -> tuple[int, Tensor]:
    """The number of the first word, and the words: `values` with zeros where a word begins before or ends after."""
    numbers = values.contiguous().reshape(-1).view(torch.uint8)
    before = start_bytes % _WORD_BYTES
    after = -(before + numbers.numel()) % _WORD_BYTES
    if before or after:
        numbers = torch.nn.functional.pad(numbers, (before, after))
    elif numbers.storage_offset() % _WORD_BYTES:
        numbers = numbers.clone()
    return start_bytes // _WORD_BYTES, numbers.view(torch.int64)
