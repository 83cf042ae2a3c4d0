"""What a failure says on stderr, and its exit status. Tracebacks only with TUNESMITH_DEBUG=1."""

from __future__ import annotations

import errno
import sys

from tunesmith import env
from tunesmith.errors import TunesmithError
from tunesmith.launch.failure import tell_launcher

INTERRUPTED = 130
_LOSS = ("Connection closed by peer", "Connection reset by peer", "gloo/transport", "NCCL communicator was aborted")
"""What torch.distributed says when a process at the other end is gone."""
_SMALLER = (
    "lower per_device_train_batch_size (and raise gradient_accumulation_steps), cutoff_len or image_max_pixels, "
    "or use finetuning_type lora with quantization_bit 4"
)


def report_failure(error: BaseException) -> int:
    """Write one message about `error` to stderr, or have the launcher do it, and return the exit status."""
    status, message = exit_status(error), describe_failure(error)
    is_told = tell_launcher(message, status=status, lost=_is_loss_of_others(error))
    if _wants_traceback():
        sys.excepthook(type(error), error, error.__traceback__)
    elif not is_told or env.rank() > 0:  # what rank 0 writes stands beside the launcher's message
        sys.stderr.write(f"{message}\n")
    return status


def exit_status(error: BaseException) -> int:
    """130 for an interruption, the error's own status where it is Tunesmith's, 1 otherwise."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_status if isinstance(error, TunesmithError) else 1


def describe_failure(error: BaseException) -> str:
    """The message for the user: what happened and what to change."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, TunesmithError):
        return f"error: {error}"
    if _is_loss_of_others(error):
        return f"error: another process of this run is gone ({_first_line(error)})"
    if _is_out_of_memory(error):
        return f"error: out of memory ({_first_line(error)}); {_SMALLER}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        place = f" while writing {error.filename}" if error.filename else ""
        return f"error: the disk is full{place}; free some space, or lower save_total_limit"
    return (
        f"error: {type(error).__name__}: {_first_line(error)}\n"
        "This is not a message meant for you. Run it again with TUNESMITH_DEBUG=1 to see where it comes from."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # an error of torch's can only come once torch is there
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _is_loss_of_others(error: BaseException) -> bool:
    """Whether another process of the run is gone: gloo and NCCL say so each in its own words."""
    distributed = sys.modules.get("torch.distributed")
    causes = [cause for cause in (error, error.__cause__) if cause is not None]
    if distributed is not None and any(isinstance(cause, distributed.DistError) for cause in causes):
        return True
    text = " ".join(str(cause) for cause in causes if isinstance(cause, RuntimeError))
    return any(word in text for word in _LOSS)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or "no details"


def _wants_traceback() -> bool:
    try:
        return env.debug()
    except TunesmithError:
        return True  # the variable is set to something: better a traceback too many than none
