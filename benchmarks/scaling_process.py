"""One process of `benchmarks.scaling`: a training whose collectives are timed and counted."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tunesmith import env
from tunesmith.config.read import load_settings_from
from tunesmith.train.run import train

_COLLECTIVES = {
    "all_reduce": 0,
    "broadcast": 0,
    "all_gather_into_tensor": 1,
    "reduce_scatter_tensor": 1,
    "reduce": 0,
    "all_gather": 1,
}
"""Functions of torch.distributed, and which argument has what this process gives."""


class Watch:
    """Seconds inside collectives, and bytes given to them; `marks` are (time, seconds, bytes) after each step."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.num_bytes = 0
        self.marks: list[tuple[float, float, int]] = []
        self._inside = False

    def wrap(self, function: Callable[..., Any], given: int) -> Callable[..., Any]:
        """`function`, watched; one that calls another is counted once."""

        def watched(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return function(*arguments, **options)
            self._inside = True
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - started
                tensor = arguments[given] if len(arguments) > given else None
                self.num_bytes += tensor.nbytes if isinstance(tensor, torch.Tensor) else 0

        return watched

    def mark(self) -> None:
        """A step is finished."""
        self.marks.append((time.perf_counter(), self.seconds, self.num_bytes))


def main() -> None:
    """`scaling_process run.json told.json`: train, and have the first process tell."""
    settings, told = load_settings_from(Path(sys.argv[1]), {}, verb="train"), Path(sys.argv[2])
    torch.set_num_threads(1)
    watch = Watch()
    for name, given in _COLLECTIVES.items():
        setattr(dist, name, watch.wrap(getattr(dist, name), given))
    _mark_steps(watch)
    result = train(settings)
    if env.rank() == 0:
        told.write_text(json.dumps(_describe(watch, result.run_folder)), encoding="utf-8")


def _mark_steps(watch: Watch) -> None:
    from tunesmith.train.steps.state import TrainState

    count = TrainState.count

    def counted(*arguments: Any, **options: Any) -> None:
        count(*arguments, **options)
        watch.mark()

    TrainState.count = counted  # type: ignore[method-assign]


def _describe(watch: Watch, run_folder: Path) -> dict[str, float]:
    (begun, waited, given), (ended, waited_in_all, given_in_all) = watch.marks[0], watch.marks[-1]
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = sum(line["tokens_per_s"] * line["step_s"] for line in lines[1:] if "loss" in line)
    return {
        "tokens_per_s": tokens / (ended - begun),
        "communication": (waited_in_all - waited) / (ended - begun),
        "megabytes": (given_in_all - given) / (len(watch.marks) - 1) / 1e6,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
