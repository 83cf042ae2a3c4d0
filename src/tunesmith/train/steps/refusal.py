"""What some process has to tell of a step or an evaluation, told to all: rows that do not fit, and what was halved."""

from __future__ import annotations

from tunesmith.errors import RunError, TunesmithError
from tunesmith.train.parallel.parallel import Parallel
from tunesmith.train.steps.portions import Halving, Splitter


class StepRefusedError(RunError):
    """A step cannot be taken, or an evaluation made; no weight was changed in any process."""


def share(parallel: Parallel, splitter: Splitter, problem: TunesmithError | None) -> tuple[Halving, ...]:
    """What was halved in any process, which all remember. For all processes together.

    Raises StepRefusedError, in all, where some process has a problem: that of the lowest rank. A problem that is no
    RunError (a model that does not fit its stage) is raised as it is.
    """
    told = parallel.gather((problem, splitter.take_halvings()))
    halvings = tuple(halving for _, found in told for halving in found)
    for halving in halvings:
        splitter.fits.learn(halving.fits)
    refused = next((found for found, _ in told if found is not None), None)
    if refused is not None and not isinstance(refused, RunError):
        raise refused
    if refused is not None:
        raise StepRefusedError(str(refused)) from refused
    return halvings
