"""Memory that runs out inside a step, and losses that stop being numbers: what a run gets over by itself."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from tests.faults.failures import require_failure
from tests.faults.kill_points import KillPoint
from tests.faults.kills import LONGEST_RUN_S, NeverHurt, go_through
from tests.faults.moments import Moment, watch
from tests.faults.sameness import broken_checkpoints, differences
from tests.faults.teams import Around, starting
from tests.faults.verdict import Result, Unexpected
from tests.train.runs import metrics_without_times

_CLOSE = 1e-3
"""How far losses may come apart, relatively, where a micro-batch was split: sums are rounded in another order."""
_START_AGAIN = 75
_OUT_OF_MEMORY = "out of memory"


def run_out_once(whole: NeverHurt, point: KillPoint, folder: Path) -> Result:
    """Memory runs out in one operator of a micro-batch of one row, which fits when it is tried again: all is equal."""
    command = replace(whole.command, folder=folder / "run")
    go_through(command, goes_on=False, around=_once(point, _run_out))
    return Result(1, tuple(differences(whole.command.folder, command.folder)))


def run_out_above(whole: NeverHurt, num_tokens: int, folder: Path) -> Result:
    """Memory runs out in every micro-batch of more than `num_tokens`: each is split, and the losses stay the same."""
    command = replace(whole.command, folder=folder / "run")
    around = _in_embeddings(lambda ids, output: _run_out() if ids.numel() > num_tokens else output)
    with starting(command, around=around) as team:
        statuses = team.wait(LONGEST_RUN_S)
    if set(statuses) == {_START_AGAIN}:  # processes that wait for each other inside a step: what fits is remembered
        go_through(command, goes_on=True, around=around)
    elif any(statuses) or _OUT_OF_MEMORY not in team.said():
        raise Unexpected(f"memory ran out, and it ended with {statuses}:\n{team.said()}")
    return Result(1, tuple(_distant_losses(whole.command.folder, command.folder)))


def meet_nan_and_stop(whole: NeverHurt, step: int, folder: Path) -> Result:
    """From a forward on every output is NaN: the run saves, says so and stops. Then it goes on without."""
    command = replace(whole.command, folder=folder / "run")
    with starting(command, around=_nan_from(step)) as team:
        statuses = team.wait(LONGEST_RUN_S)
    require_failure(team, statuses, says="bad_batches")
    problems = broken_checkpoints(command.folder)
    if not list(command.folder.glob("bad_batches/step-*/rows.json")):
        problems.append("no batch was kept in bad_batches")
    go_through(command, goes_on=True)
    return Result(1, (*problems, *differences(whole.command.folder, command.folder)))


def _once(point: KillPoint, do: Callable[[], None]) -> Around:
    """Do something in the watched process, once, at a point of its run."""

    @contextlib.contextmanager
    def around(rank: int) -> Iterator[None]:
        seen = 0

        def on_event(moment: Moment) -> None:
            nonlocal seen
            seen += moment is point.moment
            if seen == point.number:
                seen += 1
                do()

        if rank == point.watched:
            watch(on_event, {point.moment})
        yield

    return around


def _in_embeddings(change: Callable[[Tensor, Tensor], Tensor]) -> Around:
    """Change what embeddings give, in forwards that train: by their input and output."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        trains = isinstance(module, nn.Embedding) and torch.is_grad_enabled()
        return change(inputs[0], output) if trains else output

    @contextlib.contextmanager
    def around(rank: int) -> Iterator[None]:
        register_module_forward_hook(hook)
        yield

    return around


def _nan_from(number: int) -> Around:
    calls = 0

    def change(ids: Tensor, output: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return output * math.nan if calls >= number else output

    return _in_embeddings(change)


def _run_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB (a fault of the tests)")


def _distant_losses(expected: Path, found: Path) -> Iterator[str]:
    wanted, got = metrics_without_times(expected), metrics_without_times(found)
    if len(wanted) != len(got):
        yield f"metrics.jsonl has {len(got)} lines instead of {len(wanted)}"
    for one, other in zip(wanted, got, strict=False):
        if not math.isclose(one.get("loss", 0.0), other.get("loss", 0.0), rel_tol=_CLOSE):
            yield f"step {one['step']}: loss {other['loss']} instead of {one['loss']}"
