"""What a run is doing when something happens in it: operators of torch, lines of Tunesmith, files that are touched.

`watch(on_event)` tells every such event of this process. It is for a forked process that ends soon: nothing is undone.
Knows nothing of what is done about an event.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

import tunesmith

SOURCE = f"{Path(tunesmith.__file__).parent}{os.sep}"


class Moment(StrEnum):
    """What a run is doing."""

    STARTING = "before the first step"
    FEEDING = "while rows are read and batches made"
    FORWARD = "inside a forward"
    BACKWARD = "inside a backward"
    EXCHANGING = "between the processes"
    OPTIMISER = "inside the optimiser"
    EVALUATING = "inside an evaluation"
    RECORDING = "while a metrics line is written"
    SAVING = "inside a save"
    FILES = "between the files of a save"
    REMOVING = "while an old checkpoint is removed"
    FINISHING = "while the final files are moved"


OnEvent = Callable[[Moment], None]

_LINES = {
    Moment.FEEDING: ("data/feed/", "data/batches/", "data/encoding/", "train/steps/feed"),
    Moment.EXCHANGING: ("train/parallel/",),
    Moment.RECORDING: ("train/display/recorder", "train/folder/json_lines"),
    Moment.SAVING: ("train/checkpoint", "train/keeper", "train/folder/atomic", "models/saving"),
}
"""Whose lines are events of a moment; the first that fits."""
_WRITES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"})
"""What audit hooks are told about files; os.replace is told as os.rename."""


def watch(on_event: OnEvent, moments: Collection[Moment] = tuple(Moment)) -> None:
    """Call `on_event` at every event of `moments` from here on, in whatever thread it happens."""
    progress = _Progress()
    if {Moment.FORWARD, Moment.BACKWARD, Moment.OPTIMISER, Moment.EVALUATING, Moment.STARTING} & set(moments):
        progress.follow()
    if {Moment.FORWARD, Moment.BACKWARD, Moment.OPTIMISER, Moment.EVALUATING} & set(moments):
        _Operators(progress, on_event).__enter__()
    if {Moment.STARTING, *_LINES} & set(moments):
        trace = _line_tracer(progress, on_event)
        threading.settrace(trace)
        sys.settrace(trace)
    if {Moment.FILES, Moment.REMOVING, Moment.FINISHING} & set(moments):
        sys.addaudithook(_file_auditor(on_event))


class _Progress:
    """How deep the run is in modules, and whether it is in the optimiser, which was called first when it `began`."""

    def __init__(self) -> None:
        self.depth = 0
        self.in_optimiser = False
        self.began = False

    def follow(self) -> None:
        register_module_forward_pre_hook(self._enter)
        register_module_forward_hook(self._leave, always_call=True)
        register_optimizer_step_pre_hook(self._enter_optimiser)
        register_optimizer_step_post_hook(self._leave_optimiser)

    def moment(self) -> Moment | None:
        """Of an operator that runs now."""
        if self.in_optimiser:
            return Moment.OPTIMISER
        if torch._C._current_graph_task_id() != -1:
            return Moment.BACKWARD
        if self.depth == 0:
            return None
        return Moment.FORWARD if torch.is_grad_enabled() else Moment.EVALUATING

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.depth += 1

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self.depth -= 1

    def _enter_optimiser(self, *called: Any) -> None:
        self.began = self.in_optimiser = True

    def _leave_optimiser(self, *called: Any) -> None:
        self.in_optimiser = False


class _Operators(TorchDispatchMode):
    """Tells of every operator, which it leaves as it is."""

    def __init__(self, progress: _Progress, on_event: OnEvent) -> None:
        super().__init__()
        self._progress = progress
        self._on_event = on_event

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (moment := self._progress.moment()) is not None:
            self._on_event(moment)
        return func(*args, **(kwargs or {}))


@cache
def _moment_of_lines(code: CodeType) -> Moment | None:
    """What the lines of a function stand for; None for functions of others."""
    if not code.co_filename.startswith(SOURCE):
        return None
    module = code.co_filename.removeprefix(SOURCE)
    return next((moment for moment, files in _LINES.items() if module.startswith(files)), Moment.STARTING)


def _line_tracer(progress: _Progress, on_event: OnEvent) -> Callable[[FrameType, str, Any], Any]:
    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return trace_line if _moment_of_lines(frame.f_code) is not None else None

    def trace_line(frame: FrameType, event: str, argument: Any) -> Any:
        moment = _moment_of_lines(frame.f_code)
        if event == "line" and moment is not None and (moment is not Moment.STARTING or not progress.began):
            on_event(moment)
        return trace_line

    return trace


def _file_auditor(on_event: OnEvent) -> Callable[[str, tuple[Any, ...]], None]:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _WRITES and (moment := _moment_of_file(event, arguments)) is not None:
            on_event(moment)

    return audit


def _moment_of_file(event: str, arguments: tuple[Any, ...]) -> Moment | None:
    place = str(arguments[0])
    if event == "open" and not _writes(arguments):
        return None
    if ".removing-" in place:
        return Moment.REMOVING
    if "/final/" in place or "/.writing-final" in place:
        return Moment.FINISHING
    return Moment.FILES if "/checkpoints/" in place else None


def _writes(arguments: tuple[Any, ...]) -> bool:
    """Whether a file, or a folder that is to be flushed, is opened for more than reading it."""
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) or Path(str(arguments[0])).is_dir()
