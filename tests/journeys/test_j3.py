"""J3: a dataset in MiniCPM-V's own form and the settings of its finetune script, through a model transformers has.

The data, the names of the settings and the merge do not depend on the model; `test_examples.py` runs the user's file on
MiniCPM-V itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import tunesmith as public
from tests.journeys.given import losses, read_json_lines, tunesmith

COLOURS = {"red": (210, 40, 40), "green": (40, 160, 70), "blue": (50, 90, 210)}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """One picture a row by its path, and two in a row by names that stand inside the text."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (56, 56), colour).save(tmp_path / f"{name}.png")
    single = [
        {
            "id": str(number),
            "image": f"{name}.png",
            "conversations": [
                {"role": "user", "content": "<image>\nWhat colour is it?"},
                {"role": "assistant", "content": name},
            ],
        }
        for number, name in enumerate(COLOURS)
    ]
    pair = {
        "id": "3",
        "image": {"<image_00>": "red.png", "<image_01>": "blue.png"},
        "conversations": [
            {"role": "user", "content": "Which is red, <image_00> or <image_01>?"},
            {"role": "assistant", "content": "The first."},
        ],
    }
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([*single, pair]), encoding="utf-8")
    return file


def settings(model: Path, rows: Path, output: Path) -> list[str]:
    """The arguments of finetune_lora.sh that mean something here."""
    return [
        *("--model_name_or_path", str(model), "--dataset", str(rows), "--output_dir", str(output)),
        *("--use_lora", "true", "--tune_vision", "false", "--tune_llm", "false", "--lora_r", "4"),
        *("--lora_target_modules", r".*language_model.*layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj)"),
        *("--model_max_length", "512", "--max_steps", "6", "--learning_rate", "0.05", "--logging_steps", "2"),
        *("--per_device_train_batch_size", "2", "--gradient_checkpointing", "true", "--use_cpu", "true"),
        *("--report_to", "tensorboard", "--save_strategy", "no"),
    ]


def test_images_stand_where_the_text_names_them(
    qwen2_5_vl_folder: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tunesmith("data", "preview", "--format", "jsonl", *settings(qwen2_5_vl_folder, rows, tmp_path / "run"))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    picture = "<|vision_start|>" + "<|image_pad|>" + "<|vision_end|>"
    assert f"<|im_start|>user\n{picture}\nWhat colour is it?<|im_end|>" in shown[0]["text"]
    assert f"Which is red, {picture} or {picture}?" in shown[3]["text"]
    assert [row["num_media_tokens"] for row in shown] == [4, 4, 4, 8]
    assert [row["supervised"] for row in shown] == [[f"{name}<|im_end|>"] for name in (*COLOURS, "The first.")]


def test_the_script_s_settings_train_and_merge(qwen2_5_vl_folder: Path, rows: Path, tmp_path: Path) -> None:
    run, merged = tmp_path / "run", tmp_path / "merged"
    tunesmith("train", *settings(qwen2_5_vl_folder, rows, run))
    assert losses(run)[-1] < losses(run)[0]
    assert read_json_lines(run / "metrics.jsonl")[-1]["step"] == 6

    model, _ = public.load(run, device="cpu")
    trained = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if ".lora_" in name}
    assert trained == {"q_proj", "k_proj", "v_proj"}

    tunesmith("export", run, f"export_dir={merged}")
    base_files = {path.name for path in qwen2_5_vl_folder.iterdir()}
    assert {path.name for path in merged.iterdir()} >= base_files
