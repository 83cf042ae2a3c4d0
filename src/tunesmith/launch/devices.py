"""How many GPUs a process started here would see, without loading torch into this one.

Where the system shows none, or one, that is the answer. Only where there may be several is torch asked, in a process
of its own: it alone knows which of them it can use.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_UNKNOWN = sys.maxsize
_ASK = "import torch; print(torch.cuda.device_count())"
_ASK_TIMEOUT_S = 180


def count_gpus(environ: Mapping[str, str], *, root: Path = Path("/")) -> int:
    """GPUs that torch could use; `root` is where /dev and /proc stand."""
    most = _most(environ, root)
    return most if most <= 1 else min(most, _ask_torch(environ))


def most_gpus(environ: Mapping[str, str], *, root: Path = Path("/")) -> int | None:
    """No process can see more of them than this; None where that is not known."""
    most = _most(environ, root)
    return None if most == _UNKNOWN else most


def _most(environ: Mapping[str, str], root: Path) -> int:
    installed = _installed(root)
    listed = [_listed(environ[name]) for name in _VISIBLE if name in environ]
    if not installed or not listed:
        return installed
    return min(listed) if any("MIG" in environ.get(name, "") for name in _VISIBLE) else min(installed, *listed)


def _installed(root: Path) -> int:
    """NVIDIA's devices, or an unknown number where another driver is at work."""
    devices = [node for node in (root / "dev").glob("nvidia*") if node.name.removeprefix("nvidia").isdecimal()]
    if devices:
        return len(devices)
    folder = root / "proc/driver/nvidia/gpus"
    if folder.is_dir():
        return len(list(folder.iterdir()))
    return _UNKNOWN if any((root / "dev" / name).exists() for name in ("kfd", "dxg")) else 0


def _listed(value: str) -> int:
    """Devices that a variable names; CUDA stops at the first that is none."""
    count = 0
    for name in (word.strip() for word in value.split(",")):
        if not name or name.startswith("-"):
            break
        count += 1
    return count


def _ask_torch(environ: Mapping[str, str]) -> int:
    """0 where torch cannot be loaded: the training will say why."""
    command = [sys.executable, "-c", _ASK]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=_ASK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return 0
    words = done.stdout.split()
    return int(words[-1]) if words and words[-1].isdecimal() else 0
