"""Every settings file under examples/ loads for the verb that its comment names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import REPOSITORY
from tunesmith.config.read import load_settings

SCHEDULERS = {"kubernetes", "skypilot"}  # their files start Tunesmith: tests/launch/test_examples.py
EXAMPLES = sorted(path for path in (REPOSITORY / "examples").rglob("*.yaml") if path.parent.name not in SCHEDULERS)
_COMMAND = re.compile(r"^#\s+tunesmith (train|chat|export)(?: |$)", re.MULTILINE)


def test_the_journeys_have_examples() -> None:
    folders = {path.parent.name for path in EXAMPLES}
    assert folders >= {"qwen2_5_vl", "minicpm_v", "internlm"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(REPOSITORY / "examples")))
def test_an_example_loads_and_says_how_it_is_run(path: Path) -> None:
    commands = _COMMAND.findall(path.read_text(encoding="utf-8"))
    assert commands, f"{path} should begin with a comment that names its command"
    for verb in commands:
        assert load_settings(path, verb=verb).model.model_name_or_path
