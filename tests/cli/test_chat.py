from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.data.recordings import video
from tunesmith.cli.main import main

SHORT = ("max_new_tokens=4", "temperature=0")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Sets what standard input holds."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_one_question_prints_the_answer_alone(qwen2_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(qwen2_folder), "--prompt", "你是谁?", *SHORT]) == 0
    first = capsys.readouterr().out
    assert first.endswith("\n") and len(first) > 1
    assert main(["chat", str(qwen2_folder), "--prompt", "你是谁?", *SHORT]) == 0
    assert capsys.readouterr().out == first


def test_one_question_about_an_image(
    qwen2_5_vl_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for colour in ("red", "blue"):
        Image.new("RGB", (60, 40), colour).save(tmp_path / "picture.png")
        words = [
            "--image",
            str(tmp_path / "picture.png"),
            "--prompt",
            "Which colour?",
            "max_new_tokens=8",
            "temperature=0",
        ]
        assert main(["chat", str(qwen2_5_vl_folder), *words]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] != answers[1]


def test_one_question_about_a_video(
    qwen2_5_vl_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(video(tmp_path / "a.mp4").source)
    assert main(["chat", str(qwen2_5_vl_folder), "--video", clip, "--prompt", "What happens?", *SHORT]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["chat", str(qwen2_5_vl_folder), "--audio", clip, "--prompt", "What is said?", *SHORT]) == 2
    assert "takes text, images, videos; choose a model that hears" in capsys.readouterr().err


def test_lines_from_a_pipe_are_a_conversation(
    qwen2_folder: Path, tmp_path: Path, typed, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(f"hello\n\n/system be brief\nagain\nand again\n/save {tmp_path / 'chat.json'}\n")
    assert main(["chat", str(qwen2_folder), *SHORT]) == 0
    answers = capsys.readouterr()
    assert answers.out.count("\n") >= 3
    assert "saved 4 messages" in answers.err
    (row,) = json.loads((tmp_path / "chat.json").read_text())
    assert [message["role"] for message in row["messages"]] == ["system", *["user", "assistant"] * 2]


def test_a_failed_line_of_a_pipe_makes_the_status_1(
    qwen2_folder: Path, typed, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("/image no.png\nhello\n")
    assert main(["chat", str(qwen2_folder), *SHORT]) == 1
    said = capsys.readouterr()
    assert "takes text only" in said.err and said.out != ""


def test_a_yaml_as_llama_factory_users_have_it(
    qwen2_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text(
        f"model_name_or_path: {qwen2_folder}\ntemplate: qwen\ninfer_backend: huggingface\ntrust_remote_code: true\n"
    )
    assert main(["chat", str(file), "--prompt", "hi", "--max_new_tokens", "3"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--prompt", "hi"], 2, "model_name_or_path"),
        (["FOLDER", "temprature=1"], 2, "temperature"),
        (["FOLDER", "--image", "no.png", "--prompt", "hi"], 2, "takes text only"),
        (["FOLDER", "--prompt", " "], 2, "--prompt is empty"),
        (["FOLDER", "infer_backend=vllm", "--prompt", "hi"], 2, "vllm"),
        (["nothing/here", "--prompt", "hi"], 2, "nothing/here"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str], status: int, message: str, qwen2_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", *(str(qwen2_folder) if word == "FOLDER" else word for word in words)]) == status
    said = capsys.readouterr()
    assert message in said.err and "Traceback" not in said.err and said.out == ""


def test_a_model_with_eyes_says_which_image_is_missing(
    qwen2_5_vl_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", str(qwen2_5_vl_folder), "--image", "no.png", "--prompt", "hi"]) == 2
    assert "no.png: there is no such file" in capsys.readouterr().err


def test_help_answers_at_once_without_torch() -> None:
    code = "import sys; from tunesmith.cli.main import main; main(['chat', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tunesmith chat") and done.stdout.endswith("False\n")
