"""Fixtures every test may use: tiny model folders, built once a session. Treat them as read-only."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

if "TUNESMITH_CACHE" not in os.environ:
    os.environ["TUNESMITH_CACHE"] = tempfile.mkdtemp(prefix="tunesmith-cache-")
    atexit.register(shutil.rmtree, os.environ["TUNESMITH_CACHE"], ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def untouched_logger() -> None:
    """Every test finds Tunesmith's logger as a fresh process has it, whatever command line ran before in this one."""
    logger = logging.getLogger("tunesmith")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def qwen2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 (text), float32."""
    from tests.tiny import tiny_folder

    return tiny_folder("qwen2", tmp_path_factory.mktemp("tiny") / "qwen2")


@pytest.fixture(scope="session")
def qwen2_5_vl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL (text, images, videos), float32."""
    from tests.tiny import tiny_folder

    return tiny_folder("qwen2_5_vl", tmp_path_factory.mktemp("tiny") / "qwen2_5_vl")
