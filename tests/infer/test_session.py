from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.recordings import sound, video
from tests.infer.scripted import ScriptedEngine
from tunesmith.chat.message import Media, Message, Text
from tunesmith.config.generation import GenerationSettings
from tunesmith.errors import UsageError
from tunesmith.infer.session import ChatSession


def start(*answers: str | BaseException, sees: bool = True, system: str | None = None) -> ChatSession:
    return ChatSession(ScriptedEngine(answers, sees=sees), GenerationSettings(), system=system, seed=40)


def roles(session: ChatSession) -> list[str]:
    return [message.role for message in session.conversation.messages]


def test_the_engine_sees_every_turn_so_far() -> None:
    session = start("one", "two", system="be brief")
    assert "".join(session.say("first")) == "one "
    assert "".join(session.say("second")) == "two "
    assert [message.text for message in session.engine.asked[1].messages] == ["be brief", "first", "one ", "second"]
    assert roles(session) == ["system", "user", "assistant", "user", "assistant"]


def test_an_image_stands_before_the_text_of_the_next_message_only(picture: Path) -> None:
    session = start("a cat", "still a cat")
    assert session.attach(picture) == "60 x 40"
    list(session.say("what is it?"))
    list(session.say("sure?"))
    first, _, second, _ = session.messages
    assert first.parts == (Media("image", str(picture)), Text("what is it?"))
    assert second.parts == (Text("sure?"),)


def test_an_image_is_checked_at_once(tmp_path: Path, picture: Path) -> None:
    session = start()
    with pytest.raises(UsageError, match=r"no\.png: there is no such file"):
        session.attach("no.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"broken\.png cannot be used"):
        session.attach(broken)
    with pytest.raises(UsageError, match="takes text only"):
        start(sees=False).attach(picture)
    assert session.attached == ()


def test_videos_and_sound_go_with_a_message_too(tmp_path: Path) -> None:
    engine = ScriptedEngine(["a clip"], kinds=("image", "video", "audio"))
    session = ChatSession(engine, GenerationSettings())
    clip, tone = video(tmp_path / "a.mp4", num_frames=25, fps=10), sound(tmp_path / "a.wav")
    assert session.attach(tmp_path / "a.mp4", kind="video") == "2.5 s, 96 x 64"
    assert session.attach(tmp_path / "a.wav", kind="audio") == "1.5 s"
    list(session.say("what is it?"))
    assert session.messages[0].parts == (clip, tone, Text("what is it?"))


def test_what_the_model_does_not_take_is_named(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"takes text, images; choose a model that sees videos"):
        start().attach(tmp_path / "a.mp4", kind="video")
    with pytest.raises(UsageError, match=r"takes text only; choose a model that hears"):
        start(sees=False).attach("a.wav", kind="audio")


def test_a_stopped_answer_is_kept_as_far_as_it_came() -> None:
    session = start("one two three")
    stream = session.say("count")
    assert next(stream) == "one "
    stream.close()
    assert session.messages == (Message("user", (Text("count"),)), Message("assistant", (Text("one "),)))


def test_a_failed_turn_is_taken_back_with_its_images(picture: Path) -> None:
    class Silent(ScriptedEngine):
        def stream(self, conversation, options, *, seed=None):
            raise RuntimeError("broken")
            yield ""

    session = ChatSession(Silent(()), GenerationSettings())
    session.attach(picture)
    with pytest.raises(RuntimeError, match="broken"):
        list(session.say("hello"))
    assert session.messages == ()
    assert session.attached == (Media("image", str(picture)),)


def test_clear_keeps_the_system_message(picture: Path) -> None:
    session = start("one", system="be brief")
    list(session.say("first"))
    session.attach(picture)
    session.clear()
    assert roles(session) == ["system"]
    assert session.attached == ()


def test_each_answer_has_a_seed_of_its_own_that_a_second_chat_repeats() -> None:
    for _ in range(2):
        session = start("one", "two")
        list(session.say("first"))
        list(session.say("second"))
        assert session.engine.seeds == [40, 41]
