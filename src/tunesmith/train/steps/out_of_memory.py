"""Which errors mean that memory ran out, and how what a failed attempt held is given back.

The names and words are PyTorch's, its back ends' and the operating system's. Knows nothing of batches.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch

from tunesmith.errors import TunesmithError

_WORDS = (
    "out of memory",  # CUDA, HIP, XPU, MPS, and bitsandbytes' paged memory
    "can't allocate memory",  # DefaultCPUAllocator
    "cannot allocate memory",  # the operating system's, passed on
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, says that memory ran out; no error of Tunesmith's own does."""
    return any(_says_so(link) for link in _chain(error))


def memory_ran_out(work: Callable[[], object]) -> str | None:
    """Do `work`: None, or where memory ran out the first line of what was said.

    Once this returns nothing holds the error any more, nor with its frames what the attempt had made.
    """
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None


def give_back_memory(device: torch.device) -> None:
    """Collect what nothing refers to any more, and let PyTorch's allocator forget the blocks it keeps for reuse."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    is_torchs = isinstance(error, RuntimeError) and not isinstance(error, TunesmithError)
    return is_torchs and any(word.lower() in str(error).lower() for word in _WORDS)
