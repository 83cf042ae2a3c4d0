"""One thing written at a time while the training goes on.

What it fails with is kept until somebody asks: nothing is lost, and the caller says when all processes are told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tunesmith.errors import RunError, TunesmithError


class BackgroundWriter:
    """Runs one job at a time in a thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self.problem: TunesmithError | None = None
        """What a job has failed with."""

    def start(self, job: Callable[[], None], *, name: str) -> None:
        """Begin `job`, which writes what `name` says. The one before must have ended (`settle`)."""
        assert self._thread is None, "one job at a time"
        self._thread = threading.Thread(target=self._run, args=(job, name), name=f"writes {name}")
        self._thread.start()

    def settle(self) -> float:
        """Wait until nothing is being written, whatever came of it; the seconds waited."""
        started = time.perf_counter()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return time.perf_counter() - started

    def _run(self, job: Callable[[], None], name: str) -> None:
        try:
            job()
        except TunesmithError as error:
            self.problem = error
        except Exception as error:  # noqa: BLE001  told where it is waited for
            self.problem = RunError(f"{name} cannot be written: {type(error).__name__}: {error}")
            self.problem.__cause__ = error
