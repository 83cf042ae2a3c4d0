"""How a verb imports what is heavy: torch, transformers and all that stands on them."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Garbage is not collected while modules load, and never looked for among them afterwards.

    Half a million objects come and stay; going through them again and again takes a sixth of the import's time, and
    later a quarter of a second for each full collection.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # at the end libraries count what is left of theirs, and print it
