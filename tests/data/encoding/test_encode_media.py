"""Ids of rows with videos and sound are those of the model's own chat template and processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import Qwen2_5OmniProcessor

from tests.data.blank import plain_call
from tests.data.conversations import assistant, build_encoder, conversation, picture, supervised_text, user
from tests.data.recordings import sound, video
from tests.tiny import AUDIO_KINDS
from tunesmith.chat.message import Conversation, Media, Text
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.loaded_media import load_medium
from tunesmith.data.problem import RowError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Media]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "video": video(folder / "a.mp4", with_sound=True),
        "short": video(folder / "b.mp4", num_frames=11, width=128, height=128, with_sound=True),
        "sound": sound(folder / "a.wav"),
    }


def own_text(preprocessor: Preprocessor, row: Conversation) -> str:
    """The model's own template over the messages, media by their kind only."""
    messages = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, Text)
                else {"type": part.kind, part.kind: "file"}
                for part in message.parts
            ],
        }
        for message in row.messages
    ]
    return str(preprocessor.processor.apply_chat_template(messages, tokenize=False))


def assert_own_ids(preprocessor: Preprocessor, row: Conversation) -> Encoded:
    encoded = build_encoder(preprocessor).encode(row)
    loaded = [load_medium(media, preprocessor) for media in row.media()]
    own = plain_call(preprocessor.processor, [own_text(preprocessor, row)], [loaded])
    assert encoded.input_ids.tolist() == own["input_ids"][0].tolist()
    if encoded.token_types is not None:
        assert encoded.token_types.tolist() == own["mm_token_type_ids"][0].tolist()
    return encoded


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen2_5_omni"])
def test_videos_and_images(kind: str, preprocessor_of: PreprocessorOf, files: dict[str, Media]) -> None:
    preprocessor = preprocessor_of(kind)
    row = conversation(
        user(files["video"], "What happens? 发生了什么?", picture(90, 60)),
        assistant("It grows."),
        user(files["short"], "And here?"),
        assistant("The same."),
    )

    encoded = assert_own_ids(preprocessor, row)

    assert supervised_text(preprocessor, encoded) == "It grows.<|im_end|>The same.<|im_end|>"
    assert encoded.media == tuple(row.media())
    placeholders = preprocessor.tokenizer.convert_tokens_to_ids(
        [preprocessor.placeholder(kind) for kind in preprocessor.kinds]
    )
    assert encoded.num_media_tokens >= int(np.isin(encoded.input_ids, placeholders).sum()) > 0


_SOUND_TOKENS = {
    "qwen2_audio": 37,  # 150 frames of 10 ms, each two convolutions halving them
    "qwen2_5_omni": 37,
    "minicpmo_2_6": 37 + 2 * 2,  # and marks around each second that was begun
}


@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_sound(kind: str, preprocessor_of: PreprocessorOf, files: dict[str, Media]) -> None:
    preprocessor = preprocessor_of(kind)
    row = conversation(user(files["sound"], "What's that sound?"), assistant("A tone."))

    encoded = assert_own_ids(preprocessor, row)

    assert encoded.num_media_tokens == _SOUND_TOKENS[kind]
    assert supervised_text(preprocessor, encoded) == "A tone.<|im_end|>"


def test_all_kinds_in_any_order(preprocessor_of: PreprocessorOf, files: dict[str, Media]) -> None:
    row = conversation(
        user(files["sound"], files["video"], "and", picture(90, 60), files["sound"], "?"), assistant("Noise.")
    )
    assert_own_ids(preprocessor_of("qwen2_5_omni"), row)


@pytest.mark.skipif(
    not hasattr(Qwen2_5OmniProcessor, "load_audio_from_video"), reason="older transformers name the options differently"
)
def test_sound_of_videos_taken_along(preprocessor_of: PreprocessorOf, files: dict[str, Media]) -> None:
    preprocessor = replace(preprocessor_of("qwen2_5_omni"), media=MediaSettings(use_audio_in_video=True))
    row = conversation(user(files["sound"], files["video"], files["sound"], "What is it?"), assistant("A tone."))

    encoded = assert_own_ids(preprocessor, row)

    text = preprocessor.tokenizer.decode(encoded.input_ids)
    assert text.count("<|AUDIO|>") == 37 + 76 + 37
    assert "<|vision_bos|><|audio_bos|><|VIDEO|>" in text and "<|AUDIO|><|audio_eos|><|vision_eos|>" in text


def test_sound_given_beside_its_video_is_woven_in_too(preprocessor_of: PreprocessorOf, files: dict[str, Media]) -> None:
    preprocessor = replace(preprocessor_of("qwen2_5_omni"), media=MediaSettings(use_audio_in_video=True))
    row = conversation(user(files["video"], files["sound"], "What is it?"), assistant("A tone."))

    text = preprocessor.tokenizer.decode(build_encoder(preprocessor).encode(row).input_ids)

    assert text.count("<|AUDIO|>") == 37
    assert "<|audio_eos|><|vision_eos|>What is it?" in text and text.count("<|audio_bos|>") == 1


@pytest.mark.parametrize(("kind", "medium"), [("qwen2_5_vl", "sound"), ("gemma3", "video"), ("qwen2_audio", "video")])
def test_a_kind_the_model_does_not_take_is_a_row_error(
    kind: str, medium: str, preprocessor_of: PreprocessorOf, files: dict[str, Media]
) -> None:
    row = conversation(user(files[medium], "What is it?"), assistant("x"))
    with pytest.raises(RowError, match=r"no place for (audio|videos)"):
        build_encoder(preprocessor_of(kind)).encode(row)


def test_a_list_of_frames_is_a_video(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    preprocessor = preprocessor_of("qwen3_vl")
    for number in range(4):
        source = picture(64, 64, seed=number).source
        assert isinstance(source, bytes)
        (tmp_path / f"{number}.png").write_bytes(source)
    frames = Media("video", tuple(str(tmp_path / f"{number}.png") for number in range(4)))

    encoded = assert_own_ids(preprocessor, conversation(user(frames, "?"), assistant("x")))

    text = preprocessor.tokenizer.decode(encoded.input_ids)
    assert "<0.2 seconds>" in text and "<1.2 seconds>" in text  # two frames a second, in pairs
