"""Sorting the words of a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.cli.arguments import split_arguments
from tunesmith.errors import UsageError


def test_words_go_to_the_file_the_verb_and_the_settings() -> None:
    arguments = split_arguments(
        ["run.yaml", "--dry-run", "--image", "a.png", "lora_rank=8", "--image=b.png", "--bf16", "true"],
        switches=("dry-run",),
        options=("image", "prompt"),
    )
    assert arguments.target == Path("run.yaml")
    assert arguments.switches == {"dry-run"}
    assert arguments.options == {"image": ("a.png", "b.png")}
    assert arguments.overrides == ("lora_rank=8", "--bf16", "true")
    assert (arguments.option("image"), arguments.option("prompt"), arguments.option("prompt", "hi")) == (
        "b.png",
        None,
        "hi",
    )


def test_the_file_may_be_left_out() -> None:
    assert split_arguments(["--stage", "sft"]).target is None
    assert split_arguments(["stage=sft"]).target is None
    assert split_arguments([]).target is None


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lr=1e-4.yaml"
    path.write_text("")
    assert split_arguments([str(path)]).target == path


def test_an_option_needs_its_value() -> None:
    with pytest.raises(UsageError, match="command line: --prompt needs a value"):
        split_arguments(["--prompt"], options=("prompt",))
