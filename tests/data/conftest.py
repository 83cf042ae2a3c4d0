"""Fixtures for tests of `data`: the tokenizer or processor of any tiny model, built once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tunesmith.config.model import MediaSettings
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny model of a kind. Treat it as read-only."""
    from tests.tiny import tiny_folder

    return cache(lambda kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session")
def preprocessor_of(model_folder: Callable[[str], Path]) -> Callable[[str], Preprocessor]:
    """The preprocessor of the tiny model of a kind. Treat it as read-only."""
    return cache(lambda kind: read_preprocessor(model_folder(kind), media=MediaSettings()))
