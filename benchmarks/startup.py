"""How long help and usage errors take, beside a bare Python: `python benchmarks/startup.py`.

Every command runs in a process of its own, the bare one in turn with the others, so that a busy machine slows both.
Prints the median of each and its ratio to the bare one. The aim is at most 10.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = "python -c pass"


def main() -> None:
    """Measure every command and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (command, status) in commands.items():
                times[name].append(_time(command, status=status))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{median * 1000:7.1f} ms  {median / medians[BARE]:5.1f} x  {name}")


def _commands(folder: Path) -> dict[str, tuple[list[str], int]]:
    """What is timed, with the exit status that it must have."""
    run = folder / "run.yaml"
    run.write_text("model_name_or_path: base\ndataset: rows.jsonl\noutput_dir: out\nlerning_rate: 1e-4\n")
    tunesmith = [sys.executable, "-m", "tunesmith"]
    return {
        BARE: ([sys.executable, "-c", "pass"], 0),
        "tunesmith --help": ([*tunesmith, "--help"], 0),
        "tunesmith train --help": ([*tunesmith, "train", "--help"], 0),
        "tunesmith version": ([*tunesmith, "version"], 0),
        "unknown verb": ([*tunesmith, "trian"], 2),
        "missing file": ([*tunesmith, "train", str(folder / "rnu.yaml")], 2),
        "unknown key in a file": ([*tunesmith, "train", str(run)], 2),
        "wrong value": ([*tunesmith, "train", "lora_rank=eight"], 2),
        "missing settings": ([*tunesmith, "train"], 2),
        "not supported yet": ([*tunesmith, "train", "deepspeed=ds.json"], 2),
    }


def _time(command: list[str], *, status: int) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    elapsed = time.perf_counter() - start
    if done.returncode != status:
        sys.exit(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return elapsed


if __name__ == "__main__":
    main()
