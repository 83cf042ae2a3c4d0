"""Something done again and again in a thread, as a sign that this process lives. Knows nothing of what is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tunesmith import log
from tunesmith.errors import RunError

EVERY_S = 10.0


@contextmanager
def beating(beat: Callable[[], None], *, every_s: float = EVERY_S) -> Iterator[None]:
    """Call `beat` every so many seconds inside; when the context ends, no call is under way.

    A beat that fails is warned of once, and tried again: a disk may be full for a while.
    """
    over = threading.Event()
    thread = threading.Thread(target=_beat_until, args=(over, beat, every_s), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat_until(over: threading.Event, beat: Callable[[], None], every_s: float) -> None:
    warned = False
    while not over.wait(every_s):
        try:
            beat()
        except (OSError, RunError) as error:
            if not warned:
                log.warning(f"no sign of life can be written, others may take this run for dead: {error}")
            warned = True
