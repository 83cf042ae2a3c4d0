"""Signals to the launcher, for its processes: it does not end by them itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PASSED_ON_AS = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}
"""SIGHUP: the terminal was closed. The processes have sessions of their own and would not hear of it."""


class StopSignals:
    """What arrived so far, in order."""

    def __init__(self) -> None:
        self._arrived: list[signal.Signals] = []
        self._taken = 0

    @property
    def requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        return bool(self._arrived)

    @property
    def urgent(self) -> bool:
        """Whether somebody asked twice."""
        return len(self._arrived) > 1

    def take_new(self) -> list[signal.Signals]:
        """What arrived since the last call, to be passed on."""
        new = self._arrived[self._taken :]
        self._taken += len(new)
        return new

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals inside; but not SIGHUP under nohup, and none in another thread than the main one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heard = [number for number in _PASSED_ON_AS if number != signal.SIGHUP or not under_nohup]
        before = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature signals have
        self._arrived.append(_PASSED_ON_AS[signal.Signals(number)])
