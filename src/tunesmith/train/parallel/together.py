"""What one process does for all: its failure is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tunesmith.errors import TunesmithError
from tunesmith.train.parallel.parallel import Parallel

Result = TypeVar("Result")


def on_first(parallel: Parallel, action: Callable[[], Result]) -> Result | None:
    """Run `action` in the first process while the others wait; its result there, None elsewhere. For all together.

    Raises what `action` raises of TunesmithErrors, in every process.
    """
    result: Result | None = None
    problem: TunesmithError | None = None
    if parallel.rank == 0:
        try:
            result = action()
        except TunesmithError as error:
            problem = error
    raise_first(parallel, problem)
    return result


def raise_first(parallel: Parallel, problem: TunesmithError | None) -> None:
    """Raise the problem of the lowest rank that has one, in every process. For all together."""
    found = next((given for given in parallel.gather(problem) if given is not None), None)
    if found is not None:
        raise problem or found
