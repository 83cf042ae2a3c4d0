"""What one process does for all: its failure is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tunesmith.errors import RunError, TunesmithError
from tunesmith.train.parallel.parallel import Parallel

Result = TypeVar("Result")


def on_first(parallel: Parallel, action: Callable[[], Result]) -> Result | None:
    """Run `action` in the first process while the others wait; its result there, None elsewhere. For all together.

    Raises in every process what `action` raises of TunesmithErrors; of any other error the others get a RunError.
    """
    result: Result | None = None
    failure: Exception | None = None
    if parallel.rank == 0:
        try:
            result = action()
        except Exception as error:  # noqa: BLE001  the others wait for this process, whatever happened to it
            failure = error
    try:
        raise_first(parallel, _told(failure))
    except TunesmithError:
        if failure is not None:
            raise failure from None
        raise
    return result


def _told(failure: Exception | None) -> TunesmithError | None:
    """What the others are told: errors of other kinds may not survive the way."""
    if failure is None or isinstance(failure, TunesmithError):
        return failure
    return RunError(f"process 0 failed: {type(failure).__name__}: {failure}")


def raise_first(parallel: Parallel, problem: TunesmithError | None) -> None:
    """Raise the problem of the lowest rank that has one, in every process. For all together."""
    found = next((given for given in parallel.gather(problem) if given is not None), None)
    if found is not None:
        raise problem or found
