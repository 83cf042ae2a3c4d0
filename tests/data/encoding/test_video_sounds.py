"""One audio for each video of a row is the videos' sound, as LLaMA-Factory's rows have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tunesmith.chat.message import Media
from tunesmith.chat.render import Rendered
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.video_sounds import SoundedVideo, join_sounds, pair_sounds, sound_of
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
IMAGE = Media("image", "a.png")
FIRST, SECOND = Media("video", "1.mp4"), Media("video", "2.mp4")
TALK, SONG = Media("audio", "1.mp3"), Media("audio", "2.mp3")


@pytest.mark.parametrize(
    ("media", "paired"),
    [
        ([FIRST, TALK], (SoundedVideo("video", "1.mp4", TALK),)),
        (
            [TALK, IMAGE, FIRST, SECOND, SONG],
            (IMAGE, SoundedVideo("video", "1.mp4", TALK), SoundedVideo("video", "2.mp4", SONG)),
        ),
        ([FIRST, SECOND, TALK], (FIRST, SECOND, TALK)),
        ([FIRST, IMAGE], (FIRST, IMAGE)),
        ([SoundedVideo("video", "1.mp4", TALK)], (SoundedVideo("video", "1.mp4", TALK),)),
    ],
)
def test_sounds_go_to_their_videos(media: list[Media], paired: tuple[Media, ...]) -> None:
    assert pair_sounds(media) == paired


def test_where_the_sound_is() -> None:
    assert sound_of(SoundedVideo("video", "1.mp4", TALK)) == TALK
    assert sound_of(FIRST) == FIRST


def test_placeholders_of_joined_sounds_go_with_their_marks(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = replace(preprocessor_of("qwen2_5_omni"), media=MediaSettings(use_audio_in_video=True))
    question = "<|vision_bos|><|VIDEO|><|vision_eos|>What is <|AUDIO|>?<|audio_bos|><|AUDIO|><|audio_eos|>"
    spelled = question.index("What")
    rendered = Rendered(
        question + "yes", ((len(question), len(question) + 3),), ((spelled, spelled + 18),), (FIRST, TALK)
    )

    joined = join_sounds(rendered, preprocessor)

    assert joined.text == "<|vision_bos|><|VIDEO|><|vision_eos|>What is <|AUDIO|>?yes"
    assert [joined.text[slice(*span)] for span in joined.supervised] == ["yes"]
    assert [joined.text[slice(*span)] for span in joined.literal] == ["What is <|AUDIO|>?"]
    assert joined.media == (SoundedVideo("video", "1.mp4", TALK),)


def test_nothing_is_joined_unless_asked_for(preprocessor_of: PreprocessorOf) -> None:
    rendered = Rendered("<|VIDEO|><|audio_bos|><|AUDIO|><|audio_eos|>", (), (), (FIRST, TALK))
    assert join_sounds(rendered, preprocessor_of("qwen2_5_omni")) is rendered
