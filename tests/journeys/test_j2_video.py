"""J2, videos: a LLaMA-Factory user's MiniCPM-V 4.5 file with packed frames, from the preview to an answer.

`j2_video.yaml` is the user's file; only paths and the amount of work are given on the command line.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tunesmith as public
from tests.data.recordings import video
from tests.journeys.given import DEMO_DATA, losses, needs_demo_data, tunesmith
from tests.tiny import tiny_folder
from tests.tiny.minicpm import NUM_QUERIES
from tests.train.runs import assert_same_run
from tunesmith.infer.open import open_preprocessor
from tunesmith.infer.source import find_source
from tunesmith.media.frame_budget import PackingRules

RECIPE = Path(__file__).with_name("j2_video.yaml")
GROUP = NUM_QUERIES + 2
"""Tokens of a group of frames: the run, <image> and </image>. Groups are joined by one more."""
CLIPS = {"10s": 300, "2s": 60, "short": 6}
"""Frames of each clip, 30 a second."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("minicpmv_4_5", tmp_path_factory.mktemp("j2") / "MiniCPM-V-4_5")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three clips and its dataset_info.json as LLaMA-Factory has it."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for name, num_frames in CLIPS.items():
        video(folder / f"{name}.mp4", num_frames=num_frames, fps=30, width=64, height=48)
        messages = [{"role": "user", "content": "<video>How long is it?"}, {"role": "assistant", "content": name}]
        rows.append({"messages": messages, "videos": [f"{name}.mp4"]})
    (folder / "clips.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"messages": "messages", "videos": "videos"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    entry = {"file_name": "clips.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"clips": entry}), encoding="utf-8")
    return folder


def given_paths(model: Path, data: Path, output: Path) -> list[str]:
    """What differs on the machine of a test."""
    return [
        *(f"model_name_or_path={model}", f"dataset_dir={data}", f"output_dir={output}"),
        *("use_cpu=true", "bf16=false", "dataloader_num_workers=0"),
    ]


WORK = ("num_train_epochs=8", "learning_rate=0.01", "save_only_model=false", "save_steps=8", "logging_steps=4")


@pytest.fixture(scope="module")
def run(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML's training, with more and larger steps, so that so small a model moves."""
    output = tmp_path_factory.mktemp("j2") / "run"
    tunesmith("train", RECIPE, *given_paths(model, data, output), *WORK)
    return output


def test_the_preview_counts_groups_of_frames(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tunesmith("data", "preview", RECIPE, "--format", "jsonl", *given_paths(model, data, tmp_path / "run"))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # 10 s at 15 a second: 128 frames by three; 2 s: 30 frames, one a group; 0.2 s: 3 frames
    assert [row["num_media_tokens"] for row in shown] == [groups * (GROUP + 1) - 1 for groups in (43, 30, 3)]
    assert not any(row["truncated"] for row in shown)


def test_it_learns(run: Path) -> None:
    assert losses(run)[-1] < 0.8 * losses(run)[0]


def test_packed_rows_give_the_same_losses(model: Path, data: Path, tmp_path: Path) -> None:
    """All three rows are one step, end to end in a pack or as a padded batch."""
    whole = ("packing=false", "per_device_train_batch_size=3", "max_steps=4", "learning_rate=0.01", "logging_steps=1")
    tunesmith("train", RECIPE, *given_paths(model, data, tmp_path / "rows"), *whole, "disable_shuffling=true")
    tunesmith(
        *("train", RECIPE, *given_paths(model, data, tmp_path / "packs"), *whole[2:], "disable_shuffling=true"),
        *("packing=true", "cutoff_len=800", "per_device_train_batch_size=1"),
    )
    assert losses(tmp_path / "packs") == pytest.approx(losses(tmp_path / "rows"), rel=1e-5)


def test_a_stopped_run_goes_on_as_if_it_never_was(run: Path, model: Path, data: Path, tmp_path: Path) -> None:
    resumed = tmp_path / "resumed"
    shutil.copytree(run, resumed, ignore=shutil.ignore_patterns("step-16", "adapter_*"))
    again = [*given_paths(model, data, resumed), *WORK, "resume_from_checkpoint=true"]
    tunesmith("train", RECIPE, *again)
    assert_same_run(run, resumed)


def test_the_trained_model_answers_about_a_clip(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompt", "How long is it?", "temperature=0", "max_new_tokens=4"]
    tunesmith("chat", run, "--video", data / "10s.mp4", *words)
    assert capsys.readouterr().out.strip()
    preprocessor = open_preprocessor(find_source(run))
    assert preprocessor.packing == PackingRules(15, double_below_s=30, max_packing=3, max_groups=43, max_frames=128)


def test_the_processor_alone_takes_a_file(model: Path, data: Path) -> None:
    _, processor = public.load(model, device="cpu")
    outputs = processor("(<video>./</video>)\nWhat?", videos=[str(data / "2s.mp4")])
    assert outputs["group_sizes"].tolist() == [1] * 4
    assert outputs["temporal_ids"].tolist() == [0, 6, 13, 19]


@needs_demo_data
def test_llama_factory_s_demo_videos_train(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    paths = given_paths(model, DEMO_DATA, output)
    tunesmith("train", RECIPE, *paths, "dataset=mllm_video_demo", "max_steps=2", "learning_rate=0.001")
    report = json.loads((output / "data_report.json").read_text())
    assert (report["datasets"][0]["rows_kept"], report["datasets"][0]["cut"]) == (3, 0)
    assert len(losses(output)) == 2
