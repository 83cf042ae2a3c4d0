"""`tunesmith data`, as a user calls it: no weights, no output_dir."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tunesmith.cli.main import main
from tunesmith.train.folder.run_folder import RunFolder


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def folder(qwen2_5_vl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder without weights, a picture, rows and a YAML file that names them."""
    folder = tmp_path_factory.mktemp("preview")
    shutil.copytree(qwen2_5_vl_folder, folder / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    Image.new("RGB", (84, 56), "red").save(folder / "red.png")
    rows = [
        {
            "messages": [message("user", "<image>什么颜色?"), message("assistant", "红色 🚀")],
            "images": ["red.png"],
        },
        {"messages": [message("user", "hi"), message("assistant", "yes")]},
        {"messages": [message("user", "hi"), message("assistant", "")]},
    ]
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (folder / "good.json").write_text(json.dumps(rows[:2], ensure_ascii=False), encoding="utf-8")
    (folder / "run.yaml").write_text(
        f"model_name_or_path: {folder / 'model'}\ndataset: {folder / 'good.json'}\nmedia_dir: {folder}\n"
        "template: qwen2_vl\ncutoff_len: 512\n",
        encoding="utf-8",
    )
    return folder


def test_json_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["data", "preview", str(folder / "run.yaml"), "--format", "jsonl", "--limit", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert status == 0 and len(lines) == 2
    first = json.loads(lines[0])
    assert first["source"] == {"file": str(folder / "good.json"), "row": 0}
    assert first["supervised"] == ["红色 🚀<|im_end|>"]
    assert first["num_media_tokens"] == 6


def test_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", str(folder / "run.yaml"), "--format=jsonl", "--limit=1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_bad_row_is_named_and_the_status_is_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "preview", str(folder / "run.yaml"), f"dataset={folder / 'rows.json'}"]
    status = main(command)
    shown = capsys.readouterr()
    assert status == 1
    assert "rows.json, row 2" in shown.err
    assert "⟦yes<|im_end|>⟧" in shown.out
    assert main([*command, "on_bad_row=skip"]) == 0


def test_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", str(folder / "run.yaml"), "--format", "html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert page.count("<img ") == 1


def test_colour_on_demand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "preview", str(folder / "run.yaml"), "--limit", "2"]
    assert main(command) == 0
    assert "\033" not in capsys.readouterr().out
    assert main([*command, "--color"]) == 0
    assert "\033[32myes<|im_end|>\033[0m" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data", "show"], "tunesmith data preview run.yaml"),
        (["data", "preview", "--format", "pdf"], "--format pdf; expected one of text, jsonl, html"),
        (["data", "preview", "--limit", "0"], "--limit 0; expected a whole number above 0"),
        (["data", "preview", "model_name_or_path=x"], "dataset is missing"),
        (["data", "check", "model_name_or_path=x"], "dataset is missing"),
        (["data", "check", "--limit", "many"], "--limit many; expected a whole number above 0"),
        (["data", "cache", "--clean"], "--clean is no option of `tunesmith data cache`; it has --clear"),
        (["data", "cache", "everything"], "there is no cache 'everything'"),
    ],
)
def test_usage_errors(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_the_preview_reads_no_further_than_it_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"messages": [message("user", f"{n}?"), message("assistant", f"{n}.")]} for n in range(5000)]
    lines = [json.dumps(row) for row in rows]
    (folder / "long.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    command = ["data", "preview", str(folder / "run.yaml"), f"dataset={folder / 'long.jsonl'}", "--limit", "3"]
    assert main([*command, "--format", "jsonl"]) == 0
    shown = [json.loads(line)["source"]["row"] for line in capsys.readouterr().out.splitlines()]
    assert shown == [0, 1, 2]


def test_check_says_what_became_of_every_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["data", "check", str(folder / "run.yaml"), "--html", "check.html", "--json", "check.json"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("data     train: 2 rows, ") and "findings none" in shown
    assert shown.endswith("written  check.html\nwritten  check.json\n")
    report = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert report["rows"]["train"] == 2 and report["findings"] == [] and report["complete"]
    assert (tmp_path / "check.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_check_fails_for_rows_that_a_training_would_stop_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["data", "check", str(folder / "run.yaml"), f"dataset={folder / 'rows.json'}", f"output_dir={run}"]
    assert main(command) == 1
    assert "error    1 of 3 rows cannot be used: 1 empty answer" in capsys.readouterr().out
    report = json.loads((run / "data_report.json").read_text(encoding="utf-8"))
    assert [(finding["id"], finding["severity"]) for finding in report["findings"]] == [("unusable-rows", "error")]
    assert main([*command, "on_bad_row=skip"]) == 0
    assert main([*command, "--limit", "2"]) == 0


def test_a_check_is_no_run_in_its_output_dir(folder: Path, tmp_path: Path) -> None:
    assert main(["data", "check", str(folder / "run.yaml"), f"output_dir={tmp_path / 'run'}"]) == 0
    RunFolder(tmp_path / "run").refuse_foreign_run()


def test_cache_shows_and_clears(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    assert main(["data", "check", str(folder / "run.yaml")]) == 0
    capsys.readouterr()
    assert main(["data", "cache"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("encodings ") and "2 rows" in first
    assert last.endswith(f" in {tmp_path / 'cache'}")
    assert main(["data", "cache", "--clear"]) == 0
    assert " deleted from " in capsys.readouterr().out
    assert main(["data", "cache", "encodings"]) == 0
    assert capsys.readouterr().out.startswith("encodings  0 B in 0 files")


@pytest.mark.parametrize(
    ("words", "told"), [([], "data check"), (["preview"], "--format"), (["check"], "--html"), (["cache"], "--clear")]
)
def test_help(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words, "--help"]) == 0
    assert told in capsys.readouterr().out


def test_a_reader_that_stops_early_is_no_failure(folder: Path) -> None:
    command = [sys.executable, "-m", "tunesmith", "data", "preview", str(folder / "run.yaml"), "--format", "html"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert "Error" not in process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 0
