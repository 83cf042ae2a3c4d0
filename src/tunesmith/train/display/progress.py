"""What a user sees while a run goes on: one bar on a terminal, plain lines elsewhere.

The bar is on stderr, where log messages go too; while it is up they are printed above it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tunesmith import log

_WORTH_SHOWING_S = 0.001


@dataclass(frozen=True, slots=True)
class StepStatus:
    """What is shown of a step: its mean loss (None of nothing) or reward, and means since the last line."""

    loss: float | None
    learning_rate: float
    tokens_per_s: float
    data_wait_s: float
    reward: float | None = None


class Display(Protocol):
    """Shows where a run is."""

    def step(self, step: int, status: StepStatus) -> None:
        """A step is finished."""

    def line(self, line: Mapping[str, Any]) -> None:
        """A line was added to metrics.jsonl."""


class BarDisplay:
    """One rich progress bar."""

    def __init__(self, progress: Progress, task: TaskID, *, total_steps: int) -> None:
        self._progress = progress
        self._task = task
        self._total_steps = total_steps

    def step(self, step: int, status: StepStatus) -> None:
        """Move the bar; an estimated end moves on where the run outlasts it."""
        loss = _describe_result(status.loss, status.reward)
        speed = f"{status.tokens_per_s:,.0f} tok/s{_waiting(status.data_wait_s)}"
        text = f"{loss}  lr {status.learning_rate:.2e}  {speed}"
        self._progress.update(self._task, completed=step, total=max(self._total_steps, step), status=text)

    def line(self, line: Mapping[str, Any]) -> None:
        """Evaluations stay visible above the bar; training lines are the bar's own text."""
        if "eval_loss" in line:
            self._progress.console.print(describe_line(line), highlight=False)


class LineDisplay:
    """A line of text for every line of metrics.jsonl."""

    def __init__(self, *, total_steps: int, exact: bool) -> None:
        self._total_steps = total_steps
        self._exact = exact

    def step(self, step: int, status: StepStatus) -> None:
        """Nothing: the line comes every logging_steps."""

    def line(self, line: Mapping[str, Any]) -> None:
        """Log the line with the steps to come; an estimated end moves on where the run outlasts it."""
        total = max(self._total_steps, line["step"])
        log.info(describe_line(line, total=f"{total}" if self._exact else f"about {total}"))


@contextmanager
def displaying(*, total_steps: int, exact: bool, first_step: int) -> Iterator[Display]:
    """A bar where stderr is a terminal, lines elsewhere, for as long as the context lasts.

    exact: whether `total_steps` is known, or about right
    """
    if not sys.stderr.isatty():
        yield LineDisplay(total_steps=total_steps, exact=exact)
        return
    progress = Progress(
        TextColumn("step" if exact else "step, about"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
    task = progress.add_task("training", total=total_steps, completed=first_step, status="")
    with progress, messages_above_the_bar():
        yield BarDisplay(progress, task, total_steps=total_steps)


@contextmanager
def messages_above_the_bar() -> Iterator[None]:
    """Log handlers that hold the terminal itself write through rich's stand-in for it, as long as the bar is up."""
    terminal = sys.__stderr__
    handlers = [
        handler
        for handler in logging.getLogger("tunesmith").handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is terminal
    ]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(terminal)


def describe_line(line: Mapping[str, Any], *, total: str = "") -> str:
    """A line of metrics.jsonl as one line of text, after the step what `total` says of the last one."""
    place = f"step {line['step']}" + (f"/{total}" if total else "")
    if "eval_loss" in line:
        return f"{place}  {describe_evaluation(line)}"
    loss = _describe_result(line["loss"], line.get("reward"))
    waiting = _waiting(line.get("data_wait_s") or 0.0)
    speed = f"  {line['tokens_per_s']:,.0f} tok/s{waiting}" if line["tokens_per_s"] else ""
    return f"{place}  epoch {line['epoch']:.2f}  {loss}  lr {line['learning_rate']:.2e}{speed}"


_SHOWN = {"accuracy": "token accuracy", "rewards/accuracies": "accuracy", "rewards/margins": "margin", "kl": "KL"}


def describe_evaluation(line: Mapping[str, Any]) -> str:
    """The loss of an evaluation's line, and of its metrics those worth a look."""
    shown = ((label, line.get(f"eval_{name}")) for name, label in _SHOWN.items())
    parts = (
        f"{label} {value:.1%}" if label.endswith("accuracy") else f"{label} {value:.4f}"
        for label, value in shown
        if value is not None
    )
    return "  ".join([f"eval loss {line['eval_loss']:.4f}", *parts])


def _describe_result(loss: float | None, reward: float | None) -> str:
    """The reward where there is one: the loss of rewarded answers says little."""
    if reward is not None:
        return f"reward {reward:.4f}"
    return "nothing in the loss" if loss is None else f"loss {loss:.4f}"


def _waiting(data_wait_s: float) -> str:
    """Time a step waited for its data, where it is worth a look."""
    return f"  waited {data_wait_s * 1000:,.0f} ms for data" if data_wait_s >= _WORTH_SHOWING_S else ""
