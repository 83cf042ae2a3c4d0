"""full_determinism: the same numbers bit for bit in every run on the same machines; and without it, what is not.

What a run computes is a function of its seed, rows and settings already: order, dropout and media never depend on time
or on the number of processes. What is left are the orders in which parallel hardware adds, which PyTorch fixes on
demand (https://pytorch.org/docs/stable/notes/randomness.html). Knows nothing of runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from tunesmith import env, log
from tunesmith.errors import RunError

_NO_SUCH_KERNEL = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Inside, with `wanted`, PyTorch takes deterministic algorithms only; afterwards everything is as it was.

    Must be entered before CUDA starts. Raises RunError for an operation that has none, naming it and the key.
    """
    if not wanted:
        yield
        return
    if torch.cuda.is_initialized() and not env.cublas_repeats():  # type: ignore[no-untyped-call]
        log.warning(
            "full_determinism: CUDA was started before the run without CUBLAS_WORKSPACE_CONFIG=:4096:8; set it in the "
            "environment, or matrix products may differ between runs"
        )
    env.let_kernels_repeat()
    with ExitStack() as stack:
        stack.callback(_restore, _current())
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.enable_cudnn_sdp(False)  # its backward adds in any order; flash and the plain one do not
        with _explained():
            yield


def describe_determinism(device: torch.device, *, num_processes: int) -> dict[str, Any]:
    """For manifest.json: what must be the same for two runs to be equal bit for bit, and what differs even then."""
    is_full = torch.are_deterministic_algorithms_enabled()
    same = (
        ["versions", "kind of device", "number of processes"] if num_processes > 1 else ["versions", "kind of device"]
    )
    facts: dict[str, Any] = {"full_determinism": is_full}
    if device.type == "cpu":
        facts["threads"] = torch.get_num_threads()
        same.append("threads")
    return facts | {"bit_equal_with_the_same": same, "not_bit_equal": [] if is_full else _loose_ends(device)}


def _loose_ends(device: torch.device) -> list[str]:
    """What may add in another order from run to run, by PyTorch's settings as they are."""
    if device.type == "cpu":
        several = "gradients of advanced indexing (index_put with accumulate), whose threads add atomically"
        return [several] if torch.get_num_threads() > 1 else []
    ends = [
        "gradients of embedding, index_add, index_put, scatter_add and interpolation, which add atomically",
        "the backward of flash and memory-efficient attention (SDPA and flash-attn), which adds atomically",
    ]
    if torch.backends.cuda.cudnn_sdp_enabled():  # type: ignore[no-untyped-call]
        ends.append("the backward of cuDNN's attention")
    if torch.backends.cudnn.benchmark:
        ends.append("convolutions, whose kernel is chosen by timing (cudnn.benchmark)")
    if not torch.backends.cudnn.deterministic:
        ends.append("the backward of convolutions (cudnn.deterministic is off)")
    if not env.cublas_repeats():
        ends.append("matrix products on several streams (CUBLAS_WORKSPACE_CONFIG is not set)")
    return ends


_Flags = tuple[bool, bool, bool, bool, bool]


def _current() -> _Flags:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.cudnn_sdp_enabled(),  # type: ignore[no-untyped-call]
    )


def _restore(flags: _Flags) -> None:
    algorithms, warn_only, deterministic, benchmark, cudnn_sdp = flags
    torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cuda.enable_cudnn_sdp(cudnn_sdp)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        found = _NO_SUCH_KERNEL.search(str(error))
        if found is None:
            raise
        raise RunError(
            f"full_determinism: true, but PyTorch has no deterministic form of {found[1]} on this device. Set "
            "full_determinism: false: manifest.json then says what may differ between two runs"
        ) from error
