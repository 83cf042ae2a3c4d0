"""What a user sees while a run goes on: one bar on a terminal, plain lines elsewhere.

The bar is on stderr, where log messages go too; while it is up they are printed above it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tunesmith import log


class Display(Protocol):
    """Shows where a run is."""

    def step(self, step: int, *, loss: float | None, learning_rate: float, tokens_per_s: float) -> None:
        """A step is finished."""

    def line(self, line: Mapping[str, Any]) -> None:
        """A line was added to metrics.jsonl."""


class BarDisplay:
    """One rich progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def step(self, step: int, *, loss: float | None, learning_rate: float, tokens_per_s: float) -> None:
        """Move the bar."""
        shown = "no supervised token" if loss is None else f"loss {loss:.4f}"
        status = f"{shown}  lr {learning_rate:.2e}  {tokens_per_s:,.0f} tok/s"
        self._progress.update(self._task, completed=step, status=status)

    def line(self, line: Mapping[str, Any]) -> None:
        """Evaluations stay visible above the bar; training lines are the bar's own text."""
        if "eval_loss" in line:
            self._progress.console.print(describe_line(line), highlight=False)


class LineDisplay:
    """A line of text for every line of metrics.jsonl."""

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps

    def step(self, step: int, *, loss: float | None, learning_rate: float, tokens_per_s: float) -> None:
        """Nothing: the line comes every logging_steps."""

    def line(self, line: Mapping[str, Any]) -> None:
        """Log the line with the steps to come."""
        log.info(describe_line(line, total_steps=self._total_steps))


@contextmanager
def displaying(*, total_steps: int, first_step: int) -> Iterator[Display]:
    """A bar where stderr is a terminal, lines elsewhere, for as long as the context lasts."""
    if not sys.stderr.isatty():
        yield LineDisplay(total_steps)
        return
    progress = Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
    task = progress.add_task("training", total=total_steps, completed=first_step, status="")
    with progress, _messages_above_the_bar():
        yield BarDisplay(progress, task)


@contextmanager
def _messages_above_the_bar() -> Iterator[None]:
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


def describe_line(line: Mapping[str, Any], *, total_steps: int | None = None) -> str:
    """A line of metrics.jsonl as one line of text."""
    place = f"step {line['step']}" + (f"/{total_steps}" if total_steps else "")
    if "eval_loss" in line:
        return f"{place}  eval loss {line['eval_loss']:.4f}  token accuracy {line['eval_accuracy']:.1%}"
    loss = "no supervised token" if line["loss"] is None else f"loss {line['loss']:.4f}"
    speed = f"  {line['tokens_per_s']:,.0f} tok/s" if line["tokens_per_s"] else ""
    return f"{place}  epoch {line['epoch']:.2f}  {loss}  lr {line['learning_rate']:.2e}{speed}"
