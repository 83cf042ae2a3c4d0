"""A process that ends when the one that started it ends, however that was: also by SIGKILL.

Linux does it itself (prctl(2), PR_SET_PDEATHSIG); elsewhere a thread looks. Called by the process that is to end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def end_with(launcher: int) -> None:
    """End this process at once when `launcher`, its parent, has ended; also if it has already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(launcher,), name="launcher", daemon=True).start()
    if os.getppid() != launcher:  # it ended before this could be asked for
        os._exit(1)


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)
