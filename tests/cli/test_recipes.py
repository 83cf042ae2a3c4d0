"""`tunesmith recipes`: what is printed, what is written, and XTuner's two commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_main import HEAVY
from tunesmith.cli.main import main
from tunesmith.recipes.recipe import load_recipes


def test_list_prints_a_line_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(load_recipes())


def test_list_takes_a_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "list", "*_full"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["minicpmv4_6_full", "minicpmv_full", "qwen2_5_vl_full", "text_full"]
    assert (
        lines[2]
        == "qwen2_5_vl_full   Qwen2.5-VL: language model, projector and vision tower train, each at its own rate"
    )


@pytest.mark.parametrize(
    "words", [["-p", "internlm2_1_8b"], ["--pattern", "internlm2_1_8b"], ["--pattern=INTERNLM2_1_8B"]]
)
def test_list_cfg_is_list(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-cfg", *words]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["internlm2_1_8b_qlora_alpaca", "internlm2_1_8b_qlora_identity"]


def test_a_pattern_that_only_xtuner_s_names_have_leads_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-cfg", "-p", "yi_34b"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "XTuner's names with yi_34b, yi_34b_200k are understood: tunesmith recipes show yi_34b_qlora" in printed.err


def test_show_prints_the_file_and_nothing_else_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "yi_6b_qlora_custom_sft_e1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# Any text model: QLoRA")
    assert "\nmodel_name_or_path: 01-ai/Yi-6B " in printed.out
    assert "yi_6b_qlora_custom_sft_e1 is recipe text_qlora with model_name_or_path: 01-ai/Yi-6B" in printed.err


def test_copy_writes_here_and_says_what_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "copy", "qwen3_lora"]) == 0
    assert capsys.readouterr().out == "tunesmith train qwen3_lora.yaml\n"
    assert Path("qwen3_lora.yaml").read_text(encoding="utf-8") == load_recipes()["qwen3_lora"].text


def test_copy_makes_the_folder_and_runs_by_its_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "runs" / "mine.yaml"
    assert main(["recipes", "copy", "merge", str(target)]) == 0
    assert capsys.readouterr().out == f"tunesmith export {target}\n"
    assert f"tunesmith export {target}" in target.read_text(encoding="utf-8").splitlines()[1]


def test_copy_overwrites_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "run.yaml"
    target.write_text("mine")
    assert main(["recipes", "copy", "qwen3_lora", str(target)]) == 2
    assert capsys.readouterr().err == f"error: {target} exists; choose another file, or add --force to overwrite it\n"
    assert target.read_text() == "mine"
    assert main(["recipes", "copy", "qwen3_lora", str(target), "--force"]) == 0
    assert target.read_text(encoding="utf-8").startswith("# Qwen3")


def test_copy_cfg_names_the_copy_as_xtuner_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy-cfg", "internlm2_1_8b_qlora_alpaca_e3", str(tmp_path / "configs")]) == 0
    copied = tmp_path / "configs" / "internlm2_1_8b_qlora_alpaca_e3_copy.yaml"
    assert capsys.readouterr().out == f"tunesmith train {copied}\n"
    assert "dataset: tatsu-lab/alpaca " in copied.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipes", "shwo"], "unknown word 'shwo' after `tunesmith recipes`; write list, show or copy"),
        (["recipes", "show"], "command line: nothing is not understood; write `tunesmith recipes show NAME`"),
        (
            ["recipes", "list", "a", "b"],
            "command line: a b is not understood; write `tunesmith recipes list [PATTERN]`",
        ),
        (["recipes", "list", "xyzzy"], "no recipe fits xyzzy; `tunesmith recipes list` shows all there are"),
        (["recipes", "show", "qwen3_lroa"], "there is no recipe qwen3_lroa; did you mean qwen3_lora or "),
        (
            ["copy-cfg", "qwen3_lora"],
            "command line: qwen3_lora is not understood; write `tunesmith copy-cfg NAME FOLDER`",
        ),
        (
            ["recipes", "show", "chatglm3_6b_qlora_alpaca_e3"],
            "chatglm3_6b_qlora_alpaca_e3: ChatGLM 2 and 3 have no class",
        ),
        (["recipes", "copy", "merge", "/"], "/ is a folder; name a file, like /merge.yaml"),
    ],
)
def test_what_is_not_understood_is_one_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("words", [["list", "qwen"], ["show", "yi_6b_qlora_alpaca_e3"], ["copy", "merge"]])
def test_nothing_heavy_is_imported(words: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from tunesmith.cli.main import main; status = main(sys.argv[1:]); "
        f"sys.exit(','.join(name for name in {(*HEAVY, 'yaml')} if name in sys.modules) or status)"
    )
    command = [sys.executable, "-c", program, "recipes", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
