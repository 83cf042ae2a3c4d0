"""A program that stands for a training: it does what its words say, one word for each rank, without torch.

python -m tests.launch.player done kill:0.2          rank 0 sleeps, rank 1 is killed after 0.2 s
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tunesmith import env
from tunesmith.launch.failure import tell_launcher
from tunesmith.launch.orphan import end_with


def main(words: list[str]) -> int:
    """Play the part of this rank; a part like `first/second` is for attempt 0 / for those after it."""
    launcher = env.launcher()
    assert launcher is not None
    end_with(launcher)
    print(f"rank {env.rank()} of {env.world_size()} in attempt {env.attempt()}", file=sys.stderr, flush=True)
    parts = words[env.rank()].split("/")
    name, _, seconds = parts[min(env.attempt(), len(parts) - 1)].partition(":")
    if folder := os.environ.get("PLAYER_FOLDER"):
        (Path(folder) / f"{env.attempt()}-{env.rank()}").write_text(str(os.getpid()))
    return _play(name, float(seconds or 0))


def _play(name: str, seconds: float) -> int:
    if name == "saving":  # finishes its step when it is asked to stop
        signal.signal(signal.SIGTERM, lambda *_: _fail("interrupted", 130, after=seconds))
        signal.signal(signal.SIGINT, lambda *_: _fail("interrupted", 130, after=seconds))
        name = "sleep"
    if name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        name = "sleep"
    if name == "parent":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)  # grandchild"])
        name = "sleep"
    if name == "sleep":
        time.sleep(60)
    time.sleep(seconds)
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "crash":
        os._exit(7)
    if name == "lost":
        _fail("error: RuntimeError: Connection closed by peer", 1, lost=True)
    if name in {"error", "usage", "again"}:
        status = {"error": 1, "usage": 2, "again": 75}[name]
        _fail(f"error: rank {env.rank()} says {name}", status)
    return 0


def _fail(message: str, status: int, *, lost: bool = False, after: float = 0.0) -> None:
    time.sleep(after)
    tell_launcher(message, status=status, lost=lost)
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
