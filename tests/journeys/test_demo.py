"""The demo, run as a user runs it: a random Qwen2.5-VL learns two tasks from YAML files, and its adapter is merged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tunesmith as public
from examples.demo.scenes import SIZE
from tests.journeys.given import losses, read_json_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished demo."""
    output = tmp_path_factory.mktemp("demo") / "demo"
    command = [sys.executable, "-m", "examples.demo", "--output", str(output)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return output


@pytest.fixture(scope="module")
def accuracies(demo: Path) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads((demo / "accuracy.json").read_text(encoding="utf-8"))
    return found


def test_no_held_out_picture_was_trained_on(demo: Path) -> None:
    trained, held_out = (
        {path.read_bytes() for path in (demo / "data" / split).iterdir()} for split in ("train", "held_out")
    )
    assert (len(trained), len(held_out)) == (600, 100)
    assert not trained & held_out


def test_it_learns_english_from_nothing(accuracies: dict[str, Any]) -> None:
    english = accuracies["english"]
    assert english["random weights"]["all"] < 0.1
    assert english["always the same answer"]["all"] < 0.3
    assert min(english["after training in English"].values()) >= 0.9


def test_the_adapter_teaches_chinese_and_survives_the_merge(accuracies: dict[str, Any]) -> None:
    chinese = accuracies["chinese"]
    assert chinese["after training in English"]["all"] < 0.3
    assert chinese["with the adapter"]["all"] >= 0.9
    assert chinese["adapter merged"]["all"] == pytest.approx(chinese["with the adapter"]["all"], abs=0.01)


def test_the_merged_model_computes_what_base_and_adapter_do(demo: Path) -> None:
    adapted, processor = public.load(demo / "chinese", dtype="float32", device="cpu")
    merged, _ = public.load(demo / "merged", dtype="float32", device="cpu")
    question = [{"type": "image"}, {"type": "text", "text": "是什么形状?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": question}], tokenize=False)
    with Image.open(demo / "data" / "held_out" / "000.png") as picture:
        assert picture.size == (SIZE, SIZE)
        inputs = processor(text=[prompt], images=[picture.convert("RGB")], return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(merged(**inputs).logits, adapted(**inputs).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stage", ["english", "chinese"])
def test_a_stage_leaves_a_run_folder_whose_loss_fell(demo: Path, stage: str) -> None:
    run = demo / stage
    for name in ("run.yaml", "manifest.json", "data_report.json", "training_loss.png"):
        assert (run / name).is_file(), name
    held_out = [line["eval_loss"] for line in read_json_lines(run / "metrics.jsonl") if "eval_loss" in line]
    assert held_out[-1] < held_out[0]
    assert losses(run)[-1] < losses(run)[0] / 5


def test_the_pictures_for_the_user_are_there(demo: Path) -> None:
    for name in ("contact_sheet.png", "english/training_loss.png", "chinese/training_loss.png"):
        with Image.open(demo / name) as picture:
            assert min(picture.size) > 300
