"""Which errors say that memory ran out, and that nothing of a failed attempt is held."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from tunesmith.errors import RunError
from tunesmith.train.steps.out_of_memory import is_out_of_memory, memory_ran_out


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.cuda.OutOfMemoryError("HIP out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_ran_out(error):
    assert is_out_of_memory(error)
    wrapped = ValueError("compiling failed")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RunError("out of memory"), ValueError("x")]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        memory_ran_out(lambda: _raise(error))


def test_the_allocator_of_the_cpu_is_understood():
    reason = memory_ran_out(lambda: torch.empty(2**60, dtype=torch.uint8))
    assert reason is not None and "allocate memory" in reason


def test_nothing_that_the_attempt_made_is_left():
    made: list[weakref.ref[torch.Tensor]] = []

    def attempt() -> None:
        tensor = torch.ones(1000, requires_grad=True)
        product = tensor * 2
        made.append(weakref.ref(product))
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert memory_ran_out(attempt) == "CUDA out of memory"
    gc.collect()
    assert made[0]() is None


def _raise(error):
    raise error
