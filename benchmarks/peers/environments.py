"""The peers' virtual environments: made on first use from the pinned versions beside this file.

They are several gigabytes each and stand in benchmarks/.environments, or where TUNESMITH_PEER_ENVIRONMENTS says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

Peer = Literal["llamafactory", "trl", "published"]

_HERE = Path(__file__).resolve().parent


def python_of(peer: Peer) -> Path:
    """The Python of `peer`'s environment, installed if need be. Raises CalledProcessError if pip fails."""
    place = Path(os.environ.get("TUNESMITH_PEER_ENVIRONMENTS", _HERE.parent / ".environments")) / peer
    python, installed = place / "bin" / "python", place / ".installed"
    if not installed.exists():
        print(f"installing {peer} into {place} (minutes, gigabytes)", file=sys.stderr)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(_HERE / f"{peer}.txt")], check=True)
        installed.touch()
    return python
