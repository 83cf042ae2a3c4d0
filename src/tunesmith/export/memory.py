"""How much memory is free for us: the machine's, or what is left of a container's limit."""

from __future__ import annotations

from pathlib import Path


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can be taken without swapping, None where the system (its /proc and /sys in `root`) does not say."""
    known = [value for value in (_machine(root), _container(root)) if value is not None]
    return min(known) if known else None


def _machine(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    available = [line for line in lines if line.startswith("MemAvailable:")]
    return int(available[0].split()[1]) * 1024 if available else None


def _container(root: Path) -> int | None:
    group = root / "sys/fs/cgroup"
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        # Cached file pages count as used and are given back when memory is wanted.
        cached = [
            line for line in (group / "memory.stat").read_text().splitlines() if line.startswith("inactive_file ")
        ]
    except OSError:
        return None
    if limit == "max":
        return None
    return int(limit) - used + sum(int(line.split()[1]) for line in cached)
