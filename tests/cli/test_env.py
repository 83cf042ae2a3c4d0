"""`tunesmith env`."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

from tunesmith.cli.main import main


def test_a_bug_report_gets_versions_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"tunesmith 0.1.0, Python {platform.python_version()}")
    assert f"torch {metadata.version('torch')}" in lines
    assert any(line.startswith("CPU threads: ") for line in lines)
