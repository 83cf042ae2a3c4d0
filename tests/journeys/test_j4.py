"""J4 and J6: a model is taught who it is, asked while it trains, and judged on rows kept back.

LLaMA-Factory's identity dataset with its two blanks filled in, full SFT, a tenth of it held out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys.given import DEMO_DATA, needs_demo_data, read_json_lines, tunesmith

pytestmark = [needs_demo_data, pytest.mark.slow]

QUESTION = "请你介绍一下你自己"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """identity.json as users edit it, with a dataset_info.json of one entry."""
    folder = tmp_path_factory.mktemp("identity")
    text = (DEMO_DATA / "identity.json").read_text(encoding="utf-8")
    edited = text.replace("{{name}}", "小助手").replace("{{author}}", "Tunesmith")
    (folder / "identity.json").write_text(edited, encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"identity": {"file_name": "identity.json"}}))
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, qwen2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("identity") / "run"
    recipe = {
        "model_name_or_path": str(qwen2_folder),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "identity",
        "dataset_dir": str(dataset),
        "template": "qwen",
        "cutoff_len": 512,
        "val_size": 0.1,
        "output_dir": str(output),
        "num_train_epochs": 8,
        "per_device_train_batch_size": 4,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.03,
        "logging_steps": 10,
        "eval_strategy": "steps",
        "eval_steps": 40,
        "save_steps": 40,
        "save_total_limit": 3,
        "sample_prompts": [QUESTION, "你是谁", "你是我的小助手吗"],
        "sample_steps": 80,
        "sample_max_new_tokens": 24,
        "use_cpu": True,
    }
    file = output.parent / "identity.json"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    tunesmith("train", file)
    return output


def test_it_learns_rows_it_never_saw(run: Path) -> None:
    lines = read_json_lines(run / "metrics.jsonl")
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert held_out[-1] < held_out[0] < 6
    report = json.loads((run / "data_report.json").read_text(encoding="utf-8"))
    assert "identity" in json.dumps(report)


def test_its_answers_change_while_it_trains(run: Path) -> None:
    samples = read_json_lines(run / "samples.jsonl")
    answers = {line["step"]: line["answer"] for line in samples if line["prompt"] == QUESTION}
    assert 0 in answers
    assert answers[0] != answers[max(answers)]


def test_only_the_last_checkpoints_stay(run: Path) -> None:
    steps = sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())
    assert len(steps) == 3
    assert steps[-1] == 8 * 21


def test_it_says_who_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tunesmith("chat", run, "--prompt", QUESTION, "do_sample=false", "max_new_tokens=32", "use_cpu=true")
    assert "小助手" in capsys.readouterr().out
