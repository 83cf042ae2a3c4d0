"""A model published to be asked in one way is trained and asked in that way, unless the settings say another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.export.adapters import write_adapter
from tests.tiny import tiny_folder
from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.chat.render import render_conversation, render_prompt
from tunesmith.config.data import DataSettings
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.encode import build_template
from tunesmith.infer.open import open_preprocessor
from tunesmith.infer.source import find_source
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor
from tunesmith.models.preprocessing.template_options import published_options

NO_THOUGHTS = "<think>\n\n</think>\n\n"
ASKED = Conversation((Message("user", (Text("hi"),)),))
ANSWERED = Conversation((*ASKED.messages, Message("assistant", (Text("yo"),))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Qwen3 that is published to be asked without thinking, as MiniCPM-V 4.5 is."""
    folder = tiny_folder("qwen3", tmp_path / "base")
    file = folder / "generation_config.json"
    content = json.loads(file.read_text(encoding="utf-8")) | {"chat_template_kwargs": {"enable_thinking": False}}
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def prompt(preprocessor: Preprocessor, **settings: bool) -> str:
    return render_prompt(build_template(preprocessor, DataSettings(**settings)), ASKED).text


def test_prompts_end_as_the_trained_text_began(folder: Path) -> None:
    preprocessor = read_preprocessor(folder, media=MediaSettings())
    trained = render_conversation(build_template(preprocessor, DataSettings()), ANSWERED).text

    assert prompt(preprocessor).endswith(NO_THOUGHTS)
    assert trained.startswith(prompt(preprocessor) + "yo")
    assert not prompt(replace(preprocessor, template_options={})).endswith(NO_THOUGHTS)


def test_the_settings_win(folder: Path) -> None:
    assert NO_THOUGHTS not in prompt(read_preprocessor(folder, media=MediaSettings()), enable_thinking=True)


def test_an_adapter_s_own_tokenizer_is_asked_as_its_base(folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(folder, tmp_path / "lora", target_modules=r".*q_proj")
    read_preprocessor(folder, media=MediaSettings()).save(adapter)

    assert prompt(open_preprocessor(find_source(adapter))).endswith(NO_THOUGHTS)


def test_folders_that_say_nothing(tmp_path: Path) -> None:
    assert published_options(tmp_path) == {}
    (tmp_path / "generation_config.json").write_text('{"chat_template_kwargs": null}', encoding="utf-8")
    assert published_options(tmp_path) == {}
