"""The data of a run as a user gives it: videos beside pictures, packs, a stream, a mixture of datasets."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.journeys.given import DEMO_DATA, losses, needs_demo_data, read_json_lines, tunesmith

pytestmark = [needs_demo_data]

RECIPE = Path(__file__).with_name("j1.yaml")


def train(model: Path, output: Path, *words: str) -> dict[str, Any]:
    """Run `tunesmith train` on the demo data; the data report it leaves."""
    settings = [f"model_name_or_path={model}", f"dataset_dir={DEMO_DATA}", f"output_dir={output}", "use_cpu=true"]
    tunesmith("train", *settings, *words)
    report: dict[str, Any] = json.loads((output / "data_report.json").read_text(encoding="utf-8"))
    return report


def test_j1_s_file_trains_on_videos_beside_pictures(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [f"model_name_or_path={qwen2_5_vl_folder}", f"dataset_dir={DEMO_DATA}", f"output_dir={run}"]
    work = ["dataset=mllm_demo,mllm_video_demo", "video_maxlen=4", "use_cpu=true", "dataloader_num_workers=1"]
    steps = ["per_device_train_batch_size=3", "gradient_accumulation_steps=1", "learning_rate=0.02", "logging_steps=1"]
    tunesmith("train", RECIPE, *settings, *work, *steps, "num_train_epochs=4")
    assert losses(run)[-1] < losses(run)[0] - 0.15
    report = json.loads((run / "data_report.json").read_text(encoding="utf-8"))
    assert report["complete"]
    assert (report["train"]["images"], report["train"]["videos"], report["rows"]["train"]) == (8, 3, 9)
    assert {line["padding_share"] for line in read_json_lines(run / "metrics.jsonl")} == {0}


def test_packs_of_alpaca_rows_fill_their_sequences(qwen2_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["dataset=alpaca_en_demo", "packing=true", "cutoff_len=1024", "num_train_epochs=1", "logging_steps=10"]
    report = train(qwen2_folder, run, *words, "max_samples=200", "learning_rate=0.01")
    lines = read_json_lines(run / "metrics.jsonl")
    assert report["train"]["rows"] == 200
    num_packs = lines[-1]["step"]
    assert report["train"]["tokens"] / (num_packs * 1024) > 0.97  # the last pack of the run is rarely full
    assert lines[-1]["epoch"] == 1
    assert losses(run)[-1] < losses(run)[0] - 0.3


def test_a_stream_starts_without_counting(qwen2_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["dataset=alpaca_en_demo,alpaca_zh_demo", "streaming=true", "max_steps=6", "buffer_size=50"]
    report = train(qwen2_folder, run, *words, "per_device_train_batch_size=4", "cutoff_len=256", "logging_steps=1")
    assert (report["rows"]["of"], report["complete"]) == (None, False)
    assert [line["step"] for line in read_json_lines(run / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_three_datasets_are_mixed_as_asked(qwen2_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "dataset=identity,alpaca_zh_demo,glaive_toolcall_en_demo",
        "mix_strategy=interleave_under",
        "template=qwen",
    ]
    more = ["interleave_probs=0.5,0.25,0.25", "cutoff_len=1024", "max_samples=40", "num_train_epochs=1"]
    report = train(qwen2_folder, run, *words, *more, "per_device_train_batch_size=8", "logging_steps=1")
    assert {dataset["name"]: dataset["num_rows"] for dataset in report["datasets"]} == {
        "identity": 40,
        "alpaca_zh_demo": 40,
        "glaive_toolcall_en_demo": 40,
    }
    lines = read_json_lines(run / "metrics.jsonl")
    assert lines[-1]["epoch"] == 1
    # the epoch ends when half of the draws, identity's, have used up its 40 rows
    assert 60 <= 8 * lines[-1]["step"] <= 110
    assert all(later["epoch"] > earlier["epoch"] for earlier, later in pairwise(lines))
