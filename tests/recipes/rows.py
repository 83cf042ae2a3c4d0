"""What the recipes' dataset lines name: `write_data(folder)` lays out `data/` with a few rows of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.data import recordings

Row = dict[str, Any]
_OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_CAPTIONS = "LLaVA-Pretrain/blip_laion_cc_sbu_558k.json"
_INSTRUCTIONS = "LLaVA-Instruct-150K/llava_v1_5_mix665k.json"


def write_data(folder: Path) -> None:
    """`data/` as LLaMA-Factory, LLaVA and MiniCPM-V lay it out, in `folder`, which is where the run starts."""
    data = folder / "data"
    _write_media(data / "media")
    files = {**_text_files(), **_preference_files(), **_media_files(), **_llava_files(), **_minicpm_files()}
    for name, rows in files.items():
        file = data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        file.write_text(lines if file.suffix == ".jsonl" else json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (data / "dataset_info.json").write_text(json.dumps(_catalog()), encoding="utf-8")
    for images in ("images", "LLaVA-Pretrain/images", "llava_images"):
        (data / images).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (40, 160, 70)).save(data / images / "1.jpg")


def _write_media(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (120, 90), (210, 40, 40)).save(folder / "1.jpg")
    Image.new("RGB", (60, 60), (50, 90, 210)).save(folder / "2.png")
    recordings.sound(folder / "1.wav")
    recordings.video(folder / "1.mp4", num_frames=10)


def _turns(question: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _text_files() -> dict[str, list[Row]]:
    alpaca = [
        {"instruction": f"Count to {number}.", "input": "", "output": " ".join(map(str, range(1, number + 1)))}
        for number in range(2, 14)
    ]
    messages = [{"messages": _turns("你是谁？", "我是小助手，由 Tunesmith 训练。")} for _ in range(12)]
    return {
        **dict.fromkeys(("identity.json", "alpaca_en_demo.json", "alpaca_zh_demo.json", "alpaca.json"), alpaca),
        **dict.fromkeys(("train.jsonl", "identity.jsonl"), messages),
    }


def _preference_files() -> dict[str, list[Row]]:
    """Documents, pairs, and answers with a verdict."""
    pairs = [{"prompt": f"Count to {n}.", "chosen": f"{n} it is.", "rejected": "No."} for n in range(12)]
    seen = {
        "conversations": [{"from": "human", "value": "<image>What colour is it?"}],
        "chosen": {"from": "gpt", "value": "Red."},
        "rejected": {"from": "gpt", "value": "It is a blue whale."},
        "images": ["media/1.jpg"],
    }
    verdicts = [{"messages": _turns(f"Count to {n}.", f"{n} it is."), "kto_tag": n % 2 == 0} for n in range(12)]
    documents = [{"text": "A river carries what it can hold. " * n} for n in range(1, 13)]
    questions = [{"prompt": f"How much is {n} and 1?", "solution": f"{n + 1}"} for n in range(12)]
    return {
        "questions.jsonl": questions,
        "pairs.jsonl": pairs,
        "rlhf_v.json": [seen] * 6,
        "verdicts.jsonl": verdicts,
        "documents.jsonl": documents,
    }


def _media_files() -> dict[str, list[Row]]:
    return {
        "mllm_demo.json": [
            {"messages": _turns("<image>What colour is it?", "Red."), "images": ["media/1.jpg"]},
            {"messages": _turns("<image>And <image>?", "Red, blue."), "images": ["media/1.jpg", "media/2.png"]},
        ]
        * 5,
        "mllm_video_demo.json": [{"messages": _turns("<video>What happens?", "It grows."), "videos": ["media/1.mp4"]}]
        * 3,
        "mllm_audio_demo.json": [{"messages": _turns("<audio>What is it?", "A tone."), "audios": ["media/1.wav"]}] * 3,
        "mllm_video_audio_demo.json": [
            {
                "messages": _turns("<video><audio>What happens?", "It grows, and sounds."),
                "videos": ["media/1.mp4"],
                "audios": ["media/1.wav"],
            }
        ]
        * 3,
    }


def _llava_files() -> dict[str, list[Row]]:
    row = {
        "id": "1",
        "image": "1.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "A green field."},
        ],
    }
    return dict.fromkeys(("llava.json", _CAPTIONS, _INSTRUCTIONS), [row] * 3)


def _minicpm_files() -> dict[str, list[Row]]:
    rows = [
        {"id": "0", "image": "media/1.jpg", "conversations": _turns("<image>\nWhat colour is it?", "Red.")},
        {
            "id": "1",
            "image": {"<image_00>": "media/1.jpg", "<image_01>": "media/2.png"},
            "conversations": _turns("Compare <image_00> and <image_01>.", "One is red."),
        },
    ]
    return dict.fromkeys(("minicpm_train.json", "minicpm_eval.json"), rows)


def _catalog() -> dict[str, Row]:
    """LLaMA-Factory's own entries."""
    media = {
        "mllm_demo": ("images",),
        "mllm_video_demo": ("videos",),
        "mllm_audio_demo": ("audios",),
        "mllm_video_audio_demo": ("videos", "audios"),
    }
    entries: dict[str, Row] = {
        name: {"file_name": f"{name}.json"} for name in ("identity", "alpaca_en_demo", "alpaca_zh_demo")
    }
    for name, columns in media.items():
        entries[name] = {
            "file_name": f"{name}.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", **{column: column for column in columns}},
            "tags": _OPENAI_TAGS,
        }
    entries["rlhf_v"] = {
        "file_name": "rlhf_v.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"},
    }
    return entries
