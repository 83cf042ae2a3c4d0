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
