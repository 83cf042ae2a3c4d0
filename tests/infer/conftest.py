"""A picture to show, and what was said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A red PNG of 60 x 40 pixels."""
    path = tmp_path / "red.png"
    Image.new("RGB", (60, 40), "red").save(path)
    return path


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Tunesmith's log messages, also after a command line has sent them to stderr."""
    logger = logging.getLogger("tunesmith")
    logger.addHandler(caplog.handler)
    with caplog.at_level("INFO", logger="tunesmith"):
        yield caplog
    logger.removeHandler(caplog.handler)
