from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.data.recordings import video
from tests.infer.scripted import ScriptedEngine
from tunesmith.config.generation import GenerationSettings
from tunesmith.config.settings import Settings
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.errors import RunError
from tunesmith.infer.console import converse
from tunesmith.infer.session import ChatSession


class Typist:
    """A terminal that types `lines` (an exception is raised in place of a line) and remembers what it was shown."""

    def __init__(self, *lines: str | BaseException) -> None:
        self._lines = iter(lines)
        self.answers = ""
        self.said: list[str] = []

    def read(self) -> str | None:
        line = next(self._lines, None)
        if isinstance(line, BaseException):
            raise line
        return line

    def write(self, text: str) -> None:
        self.answers += text

    def say(self, text: str) -> None:
        self.said.append(text)


def talk(lines: Sequence[str | BaseException], answers: Sequence[str | BaseException] = ()) -> tuple[Typist, int]:
    typist = Typist(*lines)
    return typist, converse(ChatSession(ScriptedEngine(answers), GenerationSettings()), typist)


def test_lines_are_answered_until_the_input_ends() -> None:
    typist, num_failed = talk(["hello", "", "again"], ["one two", "three"])
    assert (typist.answers, typist.said, num_failed) == ("one two \nthree \n", [], 0)


@pytest.mark.parametrize("word", ["exit", "/exit", "/quit", "EXIT"])
def test_exit_words_end_the_chat(word: str) -> None:
    typist, _ = talk([word, "never asked"])
    assert typist.answers == ""


def test_ctrl_c_stops_the_answer_and_not_the_chat() -> None:
    typist, num_failed = talk(["hello", "again"], [KeyboardInterrupt(), "three"])
    assert typist.answers == "half [stopped]\nthree \n"
    assert num_failed == 0


def test_ctrl_c_at_the_prompt_says_how_to_leave() -> None:
    typist, _ = talk([KeyboardInterrupt(), "hello"], ["one"])
    assert typist.said == ["(/exit or Ctrl-D leaves)"]
    assert typist.answers == "one \n"


def test_a_failure_is_one_message_and_the_chat_goes_on() -> None:
    typist, num_failed = talk(["hello", "/imge x", "again"], [RunError("no memory"), "three"])
    assert typist.said[0] == "error: no memory"
    assert "did you mean /image?" in typist.said[1]
    assert typist.answers.endswith("three \n")
    assert num_failed == 2


def test_a_line_that_only_looks_like_a_command_is_a_question() -> None:
    typist, _ = talk(["/etc/passwd is what?", "// comment"], ["a file", "yes"])
    assert typist.answers == "a file \nyes \n"


def test_help_names_every_command() -> None:
    typist, _ = talk(["/help"])
    assert all(word in typist.said[0] for word in ("/image", "/video", "/audio", "/clear", "/system", "/save", "/exit"))


def test_system_and_clear_start_a_new_conversation() -> None:
    session = ChatSession(ScriptedEngine(["one", "two"]), GenerationSettings())
    typist = Typist("hello", "/system be brief", "/system", "again", "/clear", "/system none")
    converse(session, typist)
    assert typist.said[1] == "system message: be brief"
    assert [message.text for message in session.engine.asked[1].messages] == ["be brief", "again"]
    assert session.system is None and session.messages == ()


def test_a_saved_chat_reads_back_as_a_dataset(tmp_path: Path, picture: Path) -> None:
    session = ChatSession(ScriptedEngine(["a cat", "<image> yes"]), GenerationSettings(), system="be brief")
    file = tmp_path / "chat.json"
    typist = Typist(f"/image {picture}", "what is an <image>?", "sure?", f"/save {file}")
    assert converse(session, typist) == 0, typist.said
    (dataset,) = open_datasets([str(file)], Settings())
    assert dataset.conversation(dataset.ref(0)).messages == session.conversation.messages


def test_a_video_is_attached_and_saved_with_the_chat(tmp_path: Path) -> None:
    session = ChatSession(ScriptedEngine(["a cat"], kinds=("image", "video")), GenerationSettings())
    clip, file = video(tmp_path / "a.mp4"), tmp_path / "chat.json"
    typist = Typist("/video", f"/video {clip.source}", "/audio a.wav", "what is it?", f"/save {file}")
    assert converse(session, typist) == 2
    assert typist.said[0] == "error: /video needs a file: /video path/to/clip.mp4"
    assert typist.said[1] == f"attached {clip.source} (3.0 s, 96 x 64); it goes with your next message"
    assert typist.said[2].endswith("takes text, images, videos; choose a model that hears")
    (dataset,) = open_datasets([str(file)], Settings())
    assert dataset.conversation(dataset.ref(0)).messages == session.conversation.messages


def test_save_says_what_is_missing(tmp_path: Path) -> None:
    typist, num_failed = talk(["/save", "/save a.json", "hello", f"/save {tmp_path / 'a.txt'}"], ["one"])
    assert num_failed == 3
    assert [line.partition(":")[0] for line in typist.said] == ["error"] * 3
    assert not (tmp_path / "a.txt").exists()
