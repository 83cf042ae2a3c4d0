"""Ctrl-C and SIGTERM: finish the step, save, then stop. A second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tunesmith import env, log

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_S = 1.0
"""Slurm and systemd signal every process of a job, and the launcher passes its own signal on: that is one request."""


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals inside; outside the main thread, where Python allows no handlers, nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature signals have
        if os.getpid() != self._process:
            return  # a loader's worker, which inherits handlers: its parent stops it
        if self.requested:
            if env.launcher() is not None and time.monotonic() - self._requested_at < _SAME_S:
                return
            raise KeyboardInterrupt
        self.requested = True
        self._requested_at = time.monotonic()
        log.info(f"{signal.Signals(number).name}: finishing the step and saving; once more stops at once")
