"""Keep transformers' progress bars and loading reports out of a run's output while a model is read or written.

What those reports would say (absent weights, unexpected ones) Tunesmith says itself, as errors and warnings. A bar
stays where it helps: on a terminal, for more than a gigabyte.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers.utils import logging as _transformers_logging

transformers_logging: Any = _transformers_logging

_WORTH_A_BAR_BYTES = 10**9
_lock = threading.Lock()
_inside: list[ExitStack] = []
"""One for each that is inside, the first with what it changed: a checkpoint is written in one thread while the training
evaluates in another, and whoever leaves last undoes it."""


@contextmanager
def quiet_transformers(*, num_bytes: int = 0) -> Iterator[None]:
    """Inside: only errors of transformers and PEFT are shown, and a bar only for `num_bytes` that take a while."""
    shows_bar = num_bytes >= _WORTH_A_BAR_BYTES and sys.stderr.isatty()
    with _lock:
        _inside.append(ExitStack() if _inside else _hush(shows_bar=shows_bar))
    try:
        yield
    finally:
        with _lock:
            _inside.pop().close()


def _hush(*, shows_bar: bool) -> ExitStack:
    """Closing it brings back what was."""
    before = ExitStack()
    before.callback(transformers_logging.set_verbosity, transformers_logging.get_verbosity())
    transformers_logging.set_verbosity(logging.ERROR)
    if not shows_bar and transformers_logging.is_progress_bar_enabled():
        before.callback(transformers_logging.enable_progress_bar)
        transformers_logging.disable_progress_bar()
    before.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    return before
