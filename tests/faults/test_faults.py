"""The part of `python -m tests.faults` that CI does: random faults, after which all ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and /proc as Linux has them")


@pytest.mark.slow
def test_hurt_runs_end_equal_to_those_never_hurt(tmp_path: Path) -> None:
    """In a process of its own, which forks: pytest's has threads."""
    figures = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "tests.faults",
        "--quick",
        "--json",
        str(figures),
        "--folder",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    assert sum(row["points"] for row in rows if row["fault"].startswith("SIGKILL")) >= 20
    assert {row["engine"] for row in rows} == {"single", "ddp"}
    assert all(row["equal"] == row["cases"] for row in rows)
