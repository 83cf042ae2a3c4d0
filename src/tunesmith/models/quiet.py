"""Keep transformers' progress bars and loading reports out of a run's output while a model is read or written.

What those reports would say (absent weights, unexpected ones) Tunesmith says itself, as errors and warnings. A bar
stays where it helps: on a terminal, for more than a gigabyte.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as _transformers_logging

transformers_logging: Any = _transformers_logging

_WORTH_A_BAR_BYTES = 10**9


@contextmanager
def quiet_transformers(*, num_bytes: int = 0) -> Iterator[None]:
    """Inside: only errors of transformers and PEFT are shown, and a bar only for `num_bytes` that take a while."""
    verbosity = transformers_logging.get_verbosity()
    had_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    if num_bytes < _WORTH_A_BAR_BYTES or not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bar:
            transformers_logging.enable_progress_bar()
