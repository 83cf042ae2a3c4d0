"""Runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.folders import ended, evaluation_line, training_line, write_run
from tunesmith.errors import RunError
from tunesmith.runs.compare import compare, render_comparison
from tunesmith.runs.compare_plot import write_comparison_plot


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    settings = {"learning_rate": 1e-4, "lora_rank": 8, "seed": 1}
    lines = (training_line(50, 2.0), evaluation_line(50, 1.5), training_line(100, 1.25), evaluation_line(100, 1.75))
    a = write_run(tmp_path / "a", ended("finished"), lines=lines, settings=settings)
    other = {**settings, "learning_rate": 2e-4, "lora_target": ["q_proj", "v_proj"]}
    b = write_run(tmp_path / "b", ended("failed", reason="a full disk"), lines=lines[:1], settings=other)
    return [a, b]


def test_settings_that_differ_and_what_came_of_them(runs: list[Path]) -> None:
    assert render_comparison(compare(runs)).splitlines() == [
        "settings that differ  a       b",
        "learning_rate         0.0001  0.0002",
        "lora_target           -       ['q_proj', 'v_proj']",
        "",
        "results                   a        b",
        "state              finished   failed",
        "steps                   100      100",
        "loss                 1.2500   2.0000",
        "eval_loss            1.7500        -",
        "best_eval_loss       1.5000        -",
        "best_step                50        -",
        "tokens_per_s            100      100",
        "step_s               2.0000   2.0000",
        "peak_memory_bytes   1.00 GB  1.00 GB",
        "supervised_tokens         -        -",
        "b: a full disk",
    ]


def test_as_json(runs: list[Path]) -> None:
    plain = json.loads(json.dumps(compare(runs).to_json()))
    assert plain["settings"] == {"learning_rate": [1e-4, 2e-4], "lora_target": [None, ["q_proj", "v_proj"]]}
    assert [run["best_eval_loss"] for run in plain["runs"]] == [1.5, None]
    assert plain["runs"][0]["path"] == str(runs[0])


@pytest.mark.parametrize("text", ["a: [", "just words", None])
def test_settings_that_cannot_be_read_are_a_note(runs: list[Path], text: str | None) -> None:
    file = runs[1] / "run.yaml"
    file.unlink() if text is None else file.write_text(text)
    comparison = compare(runs)
    assert comparison.differing == ()
    assert any(problem.startswith("run.yaml ") for problem in comparison.runs[1].problems)


def test_the_plot_is_a_picture_and_needs_a_loss(runs: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "losses.png"
    write_comparison_plot(file, compare(runs).runs)
    assert file.read_bytes().startswith(b"\x89PNG")
    empty = write_run(tmp_path / "empty")
    with pytest.raises(RunError, match="none of the runs has logged a loss yet"):
        write_comparison_plot(tmp_path / "no.png", compare([empty, empty]).runs)
