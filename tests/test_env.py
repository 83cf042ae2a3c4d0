"""Where what can be made again is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith import env


def test_the_cache_stands_in_the_home_folder_or_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("TUNESMITH_CACHE", raising=False)
    assert env.cache_folder() == Path("/home/ada/.cache/tunesmith")
    monkeypatch.setenv("TUNESMITH_CACHE", "~/made")
    assert env.cache_folder() == Path("/home/ada/made")


def test_an_attempt_is_counted_by_whoever_starts_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNESMITH_ATTEMPT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert env.attempt() == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert env.attempt() == 2
    monkeypatch.setenv("TUNESMITH_ATTEMPT", "1")
    assert env.attempt() == 1
