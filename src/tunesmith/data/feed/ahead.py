"""An iterator that works ahead of its reader in a thread of its own.

Knows nothing of what it passes on.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_POLL_S = 0.1
_GRACE_S = 2.0
"""What the thread may take to come to an end when nobody reads on; it is a daemon, and holds up nothing after that."""


@dataclass(frozen=True, slots=True)
class _End:
    """Stands behind the last item, with what ended them."""

    error: BaseException | None


@dataclass(slots=True)
class _Thread(Generic[_Item]):
    items: Iterator[_Item]
    ready: queue.Queue[_Item | _End]
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Fill the queue until the items end or nobody reads on."""
        error: BaseException | None = None
        try:
            for item in self.items:
                self._put(item)
                if self.stop.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001  raised again where the items are read
            error = raised
        self._put(_End(error))

    def _put(self, item: _Item | _End) -> None:
        while not self.stop.is_set():
            try:
                self.ready.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return


def iterate_ahead(items: Iterator[_Item], *, most: int, call_off: Callable[[], None]) -> Generator[_Item, None, None]:
    """The same items, up to `most` of them ready before they are asked for; what `items` raises is raised in its turn.

    Closing the iterator calls `call_off`, from the reader's thread, so that `items` may stop waiting for others.
    """
    work = _Thread(items, queue.Queue(most))
    thread = threading.Thread(target=work.run, name="data feed", daemon=True)
    thread.start()
    try:
        while not isinstance(item := work.ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        work.stop.set()
        call_off()
        thread.join(_GRACE_S)
