"""Runs a tracker in a thread of its own, so that a slow, unreachable or broken one never holds up or stops a run.

Its first failure is one warning; after it the tracker is left alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from tunesmith import log
from tunesmith.train.trackers.tracker import Tracker

_FINISH_TIMEOUT_S = 30.0


class BackgroundTracker:
    """A tracker that is opened, fed and finished in one daemon thread."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        self._name = name
        self._open_tracker = open_tracker
        self._lines: queue.SimpleQueue[tuple[dict[str, float], int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Hand numbers over; returns at once."""
        self._lines.put((dict(metrics), step))

    def finish(self, *, timeout_s: float = _FINISH_TIMEOUT_S) -> None:
        """Let the tracker send what is left, for `timeout_s` at most."""
        self._lines.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning(f"{self._name} did not finish within {timeout_s:.0f} s; its last numbers may be lost there")

    def _work(self) -> None:
        try:
            tracker = self._open_tracker()
            while (line := self._lines.get()) is not None:
                metrics, step = line
                tracker.log(metrics, step=step)
            tracker.finish()
        except (Exception, SystemExit) as error:  # noqa: BLE001  clients raise what they like
            detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning(f"{self._name} gets no numbers of this run from here on: {detail}. metrics.jsonl has them all")
