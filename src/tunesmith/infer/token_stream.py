"""`generate` in a thread of its own, its tokens as an iterator; an error there is raised here.

Knows nothing of text: ids come out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue

import torch


class TokenSink:
    """What `generate` takes as its streamer: the first call brings the prompt, each later one new ids."""

    def __init__(self, queue: SimpleQueue[int | None]) -> None:
        self._queue = queue
        self._prompt_seen = False

    def put(self, ids: torch.Tensor) -> None:
        """`ids`: (1, T) for the prompt, then (1,) or (1, k) for what is new."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in ids.flatten().tolist():
            self._queue.put(token)

    def end(self) -> None:
        """`generate` is done; the end is announced by the thread, which knows about errors too."""


class StopSwitch:
    """What `generate` takes as a stopping criterion: true once `set` was called."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Make `generate` stop after the present token."""
        self._event.set()

    def __call__(self, input_ids: torch.Tensor, *_scores: object, **_options: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._event.is_set(), dtype=torch.bool, device=input_ids.device)


Generate = Callable[[TokenSink, StopSwitch], object]


def stream_tokens(generate: Generate) -> Generator[int]:
    """Yield new ids as `generate` makes them. Closing the iterator stops it and waits for its end.

    Raises whatever `generate` raises, after the ids that came before it.
    """
    queue: SimpleQueue[int | None] = SimpleQueue()
    switch = StopSwitch()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            generate(TokenSink(queue), switch)
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread, whatever it is
            errors.append(error)
        finally:
            queue.put(None)

    thread = threading.Thread(target=work, name="tunesmith-generate", daemon=True)
    thread.start()
    try:
        while (token := queue.get()) is not None:
            yield token
    finally:
        switch.set()
        thread.join()
    if errors:
        raise errors[0]
