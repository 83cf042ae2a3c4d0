"""Rows with videos whose frames share runs of tokens: planned from headers, equal to a real call of the processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.blank import noise, plain_call
from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tests.data.recordings import video
from tests.tiny.minicpm import NUM_QUERIES, write_files
from tunesmith.chat.message import Conversation, Media
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.encoded import Encoded
from tunesmith.data.encoding.expansion import Replacements
from tunesmith.data.encoding.loaded_media import load_clip, load_medium, probe_shape
from tunesmith.data.encoding.media_shape import VideoShape
from tunesmith.data.encoding.processor_call import call_processor
from tunesmith.data.encoding.trace import RowTooLongError
from tunesmith.models.preprocessing.processor import Preprocessor, read_preprocessor

JOURNEY: dict[str, Any] = {
    "video_fps": 15.0,
    "video_maxlen": 128,
    "enable_high_fps": True,
    "double_frame_duration": 30,
    "packing_maxlen": 3,
    "time_scale": 0.1,
}

Read = Callable[..., Preprocessor]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    folders: dict[str, Path] = {}

    def read(kind: str = "minicpmv_4_5", **media: Any) -> Preprocessor:
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            write_files(kind, folders[kind])
        return read_preprocessor(folders[kind], media=MediaSettings(**media))

    return read


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Media:
    """Ten seconds of 30 frames each."""
    return video(tmp_path_factory.mktemp("files") / "a.mp4", num_frames=300, fps=30, width=64, height=48)


def test_frames_and_groups_of_the_journeys_settings(read: Read, clip: Media) -> None:
    preprocessor = read(**JOURNEY)
    row = conversation(user(clip, "What happens?"), assistant("It grows."))

    encoded = assert_own_ids(preprocessor, row)
    made = _tensors(preprocessor, row)

    assert probe_shape(clip, preprocessor).num_frames == 128
    assert made["group_sizes"].tolist() == [3] * 42 + [2]
    assert made["temporal_ids"].tolist()[:6] == [0, 1, 2, 3, 3, 4]
    unknown = preprocessor.tokenizer.convert_tokens_to_ids("<unk>")
    assert int((encoded.input_ids == unknown).sum()) == 43 * NUM_QUERIES


def test_the_cookbook_s_cutoff_holds_its_own_frames_only_packed(read: Read, clip: Media, tmp_path: Path) -> None:
    write_files("minicpmv_4_5", tmp_path)
    file = tmp_path / "preprocessor_config.json"
    published = json.loads(file.read_text()) | {"image_feature_size": 64}
    file.write_text(json.dumps(published))
    row = conversation(user(clip, "What happens?"), assistant("It grows."))

    packed = build_encoder(read_preprocessor(tmp_path, media=MediaSettings(**JOURNEY)), cutoff_len=3072).encode(row)
    unknown = read().tokenizer.convert_tokens_to_ids("<unk>")
    assert int((packed.input_ids == unknown).sum()) == 2752
    assert not packed.truncated

    apart = read_preprocessor(tmp_path, media=MediaSettings(video_fps=15, video_maxlen=128))
    with pytest.raises(RowTooLongError, match="its media alone take 8"):
        build_encoder(apart, cutoff_len=3072).encode(row)


def test_doubling_takes_twice_the_frames_for_the_same_tokens(read: Read, clip: Media) -> None:
    row = conversation(user(clip, "What happens?"), assistant("It grows."))
    plain, doubled = (read(video_fps=2, enable_high_fps=True, double_frame_duration=seconds) for seconds in (0, 30))
    assert [len(_tensors(one, row)["temporal_ids"]) for one in (plain, doubled)] == [20, 40]
    assert [len(build_encoder(one).encode(row)) for one in (plain, doubled)] == [len(assert_own_ids(doubled, row))] * 2


def test_without_enable_high_fps_frames_are_those_of_every_model_and_know_their_time(read: Read, clip: Media) -> None:
    preprocessor = read(video_fps=1.0)
    made = _tensors(preprocessor, conversation(user(clip, "?"), assistant("!")))
    assert probe_shape(clip, preprocessor).indices == (0, 33, 66, 99, 132, 166, 199, 232, 265, 299)
    assert made["group_sizes"].tolist() == [1] * 10
    assert made["temporal_ids"].tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]


def test_videos_images_and_text_in_one_conversation(read: Read, clip: Media, tmp_path: Path) -> None:
    preprocessor = read(**JOURNEY)
    short = video(tmp_path / "b.mp4", num_frames=6, fps=30, width=96, height=32)
    row = conversation(
        user(picture(80, 60), "First.", clip, "Then?", picture(700, 300)),
        assistant("It grows."),
        user(short, "And", picture(50, 90), "here?"),
        assistant("The same."),
    )

    encoded = assert_own_ids(preprocessor, row)
    made = _tensors(preprocessor, row)

    text = preprocessor.tokenizer.decode(encoded.input_ids)
    assert [f"<image_id>{number}</image_id>" in text for number in range(4)] == [True, True, True, False]
    ids = made["temporal_ids"].tolist()
    # a picture, the long video, a picture in four pieces, the video of 0.2 s, a picture
    assert [place for place, number in enumerate(ids) if number == -1] == [0, 129, 130, 131, 132, 136]
    assert ids[133:136] == [0, 1, 1]
    assert made["group_sizes"].tolist() == [1, *[3] * 42, 2, *[1] * 8]
    assert int(made["group_sizes"].sum()) == len(made["tgt_sizes"])


@pytest.mark.parametrize("kind", ["minicpmv_2_6", "minicpmv_4_0", "minicpmo_2_6"])
def test_other_versions_take_frames_as_pictures(kind: str, read: Read, clip: Media) -> None:
    preprocessor = read(kind, **JOURNEY)
    row = conversation(user(picture(80, 60), clip, "What happens?"), assistant("It grows."))

    encoded = assert_own_ids(preprocessor, row)
    made = _tensors(preprocessor, row)

    assert made.keys() == {"pixel_values", "tgt_sizes"}
    assert len(made["tgt_sizes"]) == 1 + 128
    assert preprocessor.tokenizer.decode(encoded.input_ids).count("<image>") == 1 + 128


def test_a_list_of_frames_of_different_sizes(read: Read, tmp_path: Path) -> None:
    preprocessor = read(**{**JOURNEY, "video_maxlen": 3})
    for number, size in enumerate([(64, 48), (30, 90), (64, 64), (20, 20)]):
        Image.new("RGB", size, (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    frames = Media("video", tuple(str(tmp_path / f"{number}.png") for number in range(4)))

    row = conversation(user(frames, "?"), assistant("x"))
    assert_own_ids(preprocessor, row)

    # three of the four are taken, brought to the first one's size, in one group
    made = _tensors(preprocessor, row)
    assert made["tgt_sizes"].tolist() == [[7, 9]] * 3
    assert made["group_sizes"].tolist() == [3]


def test_a_moving_gif_and_a_single_frame(read: Read, tmp_path: Path) -> None:
    preprocessor = read(**JOURNEY)
    pictures = [Image.fromarray(np.full((40, 60, 3), 40 * number, dtype=np.uint8)) for number in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    gif, still = Media("video", str(tmp_path / "a.gif")), video(tmp_path / "one.mp4", num_frames=1)

    for media, num_frames in ((gif, 5), (still, 1)):
        row = conversation(user(media, "?"), assistant("x"))
        assert_own_ids(preprocessor, row)
        assert _tensors(preprocessor, row)["group_sizes"].tolist() == [1] * num_frames


def test_frames_are_shrunk_only_when_asked(read: Read, clip: Media) -> None:
    asis, smaller = (read(**JOURNEY, **limit) for limit in ({}, {"video_max_pixels": 1024}))
    assert (probe_shape(clip, asis).width, probe_shape(clip, smaller).width) == (64, 36)
    assert load_clip(clip, smaller).frames.shape == (128, 3, 27, 36)


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(10, 600), st.integers(10, 600)),
    num_frames=st.integers(1, 9),
    stride=st.integers(1, 9),
    fps=st.sampled_from([6.0, 24000 / 1001, 30.0]),
    kind=st.sampled_from(["minicpmv_4_5", "minicpmv_2_6"]),
)
def test_counting_shapes_equals_a_real_call(
    read: Read, size: tuple[int, int], num_frames: int, stride: int, fps: float, kind: str
) -> None:
    preprocessor = read(kind, **{**JOURNEY, "video_maxlen": 6})
    shape = VideoShape(*size, tuple(range(0, num_frames * stride, stride)), num_frames * stride, fps)
    (counted,) = Replacements(preprocessor)([shape])

    text = preprocessor.placeholder("video")
    outputs = call_processor(preprocessor, texts=[text], rows=[[noise(shape)]], return_tensors="pt")

    assert preprocessor.tokenizer(counted)["input_ids"] == outputs["input_ids"][0].tolist()
    assert torch.prod(outputs["tgt_sizes"], dim=1).sum() == len(outputs["pixel_values"])


def assert_own_ids(preprocessor: Preprocessor, row: Conversation) -> Encoded:
    """The example of `row`, after a comparison with a call of the processor on the decoded media."""
    traced = build_encoder(preprocessor).trace(row)
    loaded = [load_medium(media, preprocessor) for media in row.media()]
    own = plain_call(preprocessor.processor, [traced.rendered.text], [loaded])
    assert traced.encoded.input_ids.tolist() == own["input_ids"][0].tolist()
    return traced.encoded


def _tensors(preprocessor: Preprocessor, row: Conversation) -> dict[str, torch.Tensor]:
    return MediaInputs(preprocessor)([MediaRow(tuple((media, row.source) for media in row.media()))])
