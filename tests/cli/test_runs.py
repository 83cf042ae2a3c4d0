"""`tunesmith runs` as its users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.folders import ELSEWHERE, ended, running, training_line, write_run
from tunesmith.cli.main import main


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three runs and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    lines = [training_line(50, 1.25), training_line(100, 1.0)]
    write_run(tmp_path / "saves" / "done", ended("finished"), lines=lines, settings={"seed": 1})
    write_run(tmp_path / "saves" / "full", ended("failed", reason="a full disk"), lines=lines[:1], settings={"seed": 2})
    write_run(tmp_path / "far", running(ELSEWHERE), lines=lines[:1])
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("words", [[], ["list"], ["list", "."], ["list", "saves", "far"]])
def test_the_list_has_a_line_for_each_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", *words]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["RUN", "STATE", "STEP", "LOSS", "HELD-OUT", "TOKENS/S", "AGE", "ETA", "NOTE"]
    assert {tuple(row.split()[:3]) for row in rows} == {
        ("saves/done", "finished", "100/100"),
        ("saves/full", "failed", "100/100"),
        ("far", "running", "50/100"),
    }


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--json"]) == 0
    runs = {run["path"]: run for run in json.loads(capsys.readouterr().out)}
    assert (runs["saves/full"]["state"], runs["saves/full"]["reason"]) == ("failed", "a full disk")
    assert runs["saves/done"]["loss"] == 1.0


def test_where_there_are_none_it_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", "empty"]) == 0
    assert capsys.readouterr().err == "no runs here; `tunesmith runs list FOLDER` looks elsewhere\n"


def test_tail_shows_lines_and_the_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "tail", "saves/full", "-f", "-n", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("step 50  epoch 5.00  loss 1.2500")
    assert printed.err == "saves/full: failed at step 100/100; a full disk\n"


def test_stopping_several_stops_those_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "stop", "far", "saves/done"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "saves/done: was not running: finished at step 100/100\n"
    assert "error: far trains on gpu-7, process 4321; stop it there: ssh gpu-7 tunesmith runs stop /" in printed.err


def test_compare_writes_tables_and_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", "saves/done", "saves/full", "--plot", "losses.png"]) == 0
    assert capsys.readouterr().out.startswith("settings that differ  saves/done  saves/full\nseed                  1 ")
    assert (place / "losses.png").exists()
    assert main(["runs", "compare", "saves/done", "saves/full", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {"seed": [1, 2]}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["watch"], 2, "unknown word 'watch' after `tunesmith runs`; write list, tail, stop or compare"),
        (["saves"], 2, "did you mean `tunesmith runs list saves`?"),
        (["list", "nowhere"], 2, "nowhere does not exist; name a folder"),
        (["--colour"], 2, "--colour is not understood; write `tunesmith runs list"),
        (["tail"], 2, "write one run, `tunesmith runs tail RUN`"),
        (["tail", "saves/done", "--lines", "x"], 2, "--lines x; expected a whole number"),
        (["tail", "empty"], 1, "empty holds no run"),
        (["stop"], 2, "which run? `tunesmith runs` lists them"),
        (["stop", "empty"], 1, "empty holds no run"),
        (["compare", "saves/done"], 2, "comparing needs two runs or more"),
        (["compare", "saves/done", "saves/full", "--plot"], 2, "--plot needs a value"),
    ],
)
def test_wrong_use_is_one_message(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", *words]) == status
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_a_status_that_cannot_be_read_stops_no_list_and_no_word_with_a_traceback(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "saves" / "done" / "status.json").write_text("{")
    assert main(["runs"]) == 0
    assert "status.json is no status of a run" in capsys.readouterr().out
    assert main(["runs", "stop", "saves/done"]) == 1
    assert capsys.readouterr().err.startswith("error: saves/done/status.json is no status of a run")
    assert main(["runs", "tail", "saves/done"]) == 0
    assert "unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["list"], ["tail", "saves/done"], ["stop", "saves/done"], ["compare", "saves/done", "saves/full"]]
)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    program = (
        "import sys\nfrom tunesmith.cli.main import main\n"
        f"assert main(['runs', *{words}]) == 0\n"
        "sys.exit(', '.join({'torch', 'transformers', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
