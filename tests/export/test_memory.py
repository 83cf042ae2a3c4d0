from __future__ import annotations

from pathlib import Path

from tunesmith.export.memory import free_memory_bytes


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   8000 kB\n"}


def test_a_machine_without_a_limit(tmp_path: Path) -> None:
    unlimited = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "5\n"}
    files = MACHINE | unlimited | {"sys/fs/cgroup/memory.stat": "inactive_file 1\n"}
    assert free_memory_bytes(write(tmp_path, files)) == 8000 * 1024
    assert free_memory_bytes(write(tmp_path / "bare", MACHINE)) == 8000 * 1024


def test_a_container_has_what_is_left_of_its_limit(tmp_path: Path) -> None:
    files = MACHINE | {
        "sys/fs/cgroup/memory.max": "1000\n",
        "sys/fs/cgroup/memory.current": "700\n",
        "sys/fs/cgroup/memory.stat": "anon 500\ninactive_file 200\n",
    }
    assert free_memory_bytes(write(tmp_path, files)) == 1000 - 700 + 200


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path) is None
