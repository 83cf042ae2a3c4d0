from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose.towers import tower_folder
from tunesmith.cli.main import main


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tower_folder("clip", tmp_path_factory.mktemp("clip"))


def test_two_models_become_one_that_trains_and_chats(
    qwen2_folder: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--language_model {qwen2_folder} --vision_tower {clip} --output {tmp_path / 'out'}"
    assert main(["compose", "llava", *words.split()]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {tmp_path / 'out'}: 0.1 million parameters")
    assert "a picture is 16 tokens (<image>)" in said
    assert main(["chat", str(tmp_path / "out"), "--prompt", "hi", "max_new_tokens=3", "use_cpu=true"]) == 0


def test_the_other_ways_to_write_options(qwen2_folder: Path, clip: Path, tmp_path: Path) -> None:
    given = [f"language_model={qwen2_folder}", f"--vision-tower={clip}", f"output={tmp_path / 'out'}", "seed=7"]
    assert main(["compose", "llava", *given]) == 0
    assert main(["compose", "llava", *given]) == 2
    assert main(["compose", "llava", *given, "--overwrite-output-dir"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("flamingo --output c", "say first what to make: tunesmith compose llava"),
        ("llava --language_model a --vision_tower b", "--output missing; see `tunesmith compose --help`"),
        ("llava --langage_model a", "unknown option langage_model; did you mean --language_model?"),
        ("llava a b c", "'a' is neither key=value nor --key value"),
        ("llava --language_model a --vision_tower b --output", "--output takes one folder or name"),
        ("llava --language_model a --vision_tower b --output c --seed x", "--seed x; expected a whole number"),
        ("llava --language_model a --vision_tower b --output c overwrite_output_dir=maybe", "expected true or false"),
    ],
)
def test_usage_errors(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose", *words.split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["llava", "--language_model", "a"], ["llava", "lnguage_model=a"]])
def test_help_and_usage_errors_come_without_torch(words: list[str]) -> None:
    program = "import sys; from tunesmith.cli.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "compose", *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")


def test_without_words_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose"]) == 0
    assert "tunesmith compose llava --language_model A" in capsys.readouterr().out
