"""The console script as its users start it: verbs, exit statuses, one message, nothing heavy imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.cli.main import LATER_VERBS, VERBS, main


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m tunesmith WORDS` in a process of its own."""
    command = [sys.executable, "-m", "tunesmith", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines() if line.startswith("  ")] == list(VERBS)
    assert printed.err == ""


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "version"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"tunesmith {verb}")


@pytest.mark.parametrize("words", [["version"], ["--version"], ["-V"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == "tunesmith 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: unknown verb trian; did you mean train?"),
        (["xyzzy"], f"error: unknown verb xyzzy; the verbs are {', '.join(VERBS)}"),
        (["run.yaml"], "error: the verb is missing; did you mean `tunesmith train run.yaml`?"),
        (["train", "missing/run.yaml"], "error: missing/run.yaml does not exist, and there is no folder missing"),
        (["train", "lerning_rate=1"], "error: command line: unknown key lerning_rate; did you mean learning_rate?"),
        (["train", "lora_rank=x"], "error: command line: lora_rank is 'x'; expected a whole number above 0"),
        (["train"], "error: model_name_or_path is missing; add a line like `model_name_or_path: "),
        (["train", "stage=ppo"], "error: command line: stage=ppo is not supported yet; "),
        *([[verb], f"error: tunesmith {verb} is not supported yet; {LATER_VERBS[verb]}"] for verb in LATER_VERBS),
    ],
)
def test_a_usage_error_is_one_message_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_the_module_is_the_console_script(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("lora_rnk: 8\n")
    done = _run("train", str(tmp_path / "run.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'run.yaml'}, line 1: unknown key lora_rnk; did you mean lora_rank?\n"


def test_a_traceback_is_shown_where_it_is_asked_for() -> None:
    done = _run("train", "lora_rank=x", TUNESMITH_DEBUG="1")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("tunesmith.errors.UsageError: ")


def test_a_reader_that_has_enough_is_no_failure() -> None:
    done = subprocess.run(
        f"{sys.executable} -m tunesmith train --dry-run model_name_or_path=a dataset=b output_dir=c | true; "
        "echo ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


HEAVY = ("torch", "transformers", "pydantic", "datasets", "numpy", "PIL")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        *([["--help"], 0], [["version"], 0], [["trian"], 2], [["webui"], 2]),
        *([[verb, "--help"], 0] for verb in VERBS),
        *([["train", word], 2] for word in ("missing.yaml", "lerning_rate=1", "lora_rank=x", "bf16=1", "stage=ppo")),
        *([["chat", word], 2] for word in ("missing.yaml", "temprature=1", "top_p=2", "template=qwen")),
        *([["export", word], 2] for word in ("missing.yaml", "exprt_dir=a", "export_size=0", "export_dir=a")),
        *([["data", "preview", word], 2] for word in ("missing.yaml", "cutof_len=1", "cutoff_len=0", "--limit=0")),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(words: list[str], status: int) -> None:
    program = (
        "import sys; from tunesmith.cli.main import main; status = main(sys.argv[1:]); "
        f"sys.exit(','.join(name for name in {HEAVY} if name in sys.modules) or status)"
    )
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
