"""J2 with sound: LLaMA-Factory's rows with <audio>, some with <image>, some with neither, train a MiniCPM-o."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.journeys.given import losses, tunesmith
from tests.tiny import tiny_folder
from tests.train.runs import assert_same_run, final_weights

RATE = 22_050
"""Not the model's own: sound is resampled."""


def write_sound(file: Path, *, seconds: float, pitch: float) -> str:
    """A tone; returns its name beside the rows."""
    samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)
    with wave.open(str(file), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(RATE)
        stream.writeframes((samples * 2**15).astype("<i2").tobytes())
    return file.name


def write_dataset(folder: Path) -> None:
    """Nine rows named by dataset_info.json: a tone to be told high or low, a picture beside it, or text alone."""
    rows: list[dict[str, Any]] = []
    for index in range(9):
        is_high = bool(index % 2)
        row: dict[str, Any] = {}
        question = "High or low?"
        if index % 3 < 2:
            pitch = 1500.0 if is_high else 150.0
            row["audios"] = [write_sound(folder / f"{index}.wav", seconds=0.4 + 0.3 * index, pitch=pitch)]
            question = f"<audio>{question}"
        if index % 3 == 1:
            Image.new("RGB", (60, 40), (200, 30, 30)).save(folder / f"{index}.png")
            row["images"] = [f"{index}.png"]
            question = f"<image>{question}"
        answer = {"content": "high" if is_high else "low", "role": "assistant"}
        rows.append({"messages": [{"content": question, "role": "user"}, answer], **row})
    (folder / "tones.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"messages": "messages", "images": "images", "audios": "audios"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    entry = {"file_name": "tones.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"tones": entry}), encoding="utf-8")


def train_command(model: Path, data: Path, output: Path, *changes: str) -> list[str]:
    """J2's settings that matter on a CPU, with LoRA on the encoder of sound too."""
    return [
        *("train", f"model_name_or_path={model}", f"dataset_dir={data}", "dataset=tones", f"output_dir={output}"),
        *("template=minicpm_o", "finetuning_type=lora", "lora_target=q_proj,v_proj", "freeze_vision_tower=false"),
        *("cutoff_len=3072", "per_device_train_batch_size=3", "num_train_epochs=4", "learning_rate=0.01"),
        *("logging_steps=1", "save_steps=2", "use_cpu=true", *changes),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["true", "false"])
def test_rows_with_sound_image_and_text_train_together_and_resume(tmp_path: Path, packing: str) -> None:
    model = tiny_folder("minicpmo_2_6", tmp_path / "model")
    write_dataset(tmp_path)

    tunesmith(*train_command(model, tmp_path, tmp_path / "whole", f"packing={packing}"))
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0] - 1
    assert any(".apm.layers.0.self_attn.q_proj." in name for name in final_weights(tmp_path / "whole"))

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    last = max((tmp_path / "resumed/checkpoints").iterdir(), key=lambda folder: int(folder.name.split("-")[1]))
    shutil.rmtree(last)
    tunesmith(
        *train_command(model, tmp_path, tmp_path / "resumed", f"packing={packing}", "resume_from_checkpoint=true")
    )
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")


def test_preview_shows_as_many_tokens_as_a_sound_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_folder("minicpmo_2_6", tmp_path / "model")
    write_dataset(tmp_path)
    capsys.readouterr()

    words = train_command(model, tmp_path, tmp_path / "run")[1:]
    tunesmith("data", "preview", *words, "--format", "jsonl", "--limit", "9")
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first = min(shown, key=lambda row: str(row["source"]))

    assert len(shown) == 9
    assert first["num_media_tokens"] == 10 + 2  # 0.4 s at 25 tokens a second, and the marks of the second it is in
    assert "(<audio>./</audio>)High or low?" in first["text"]
    assert first["supervised"] == ["low<|im_end|>"]
