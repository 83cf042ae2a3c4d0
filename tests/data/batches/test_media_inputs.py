"""Media tensors of a batch are what the model's own processor makes of all its media in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.blank import plain_call
from tests.data.conversations import picture
from tests.data.recordings import sound, video
from tests.tiny import AUDIO_KINDS, IMAGE_KINDS
from tunesmith.chat.message import Media, RowSource
from tunesmith.config.model import MediaSettings
from tunesmith.data.batches.media_inputs import MediaInputs, MediaRow
from tunesmith.data.encoding.loaded_media import Clip, load_medium, probe_shape
from tunesmith.data.encoding.processor_outputs import learn_outputs
from tunesmith.errors import DataError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
PICTURES = [picture(120, 90), picture(300, 40, seed=1), picture(64, 200, seed=2)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Media, Media]:
    """Two videos with sound, of 3 s and 2 s and of other sizes, of which 6 and 4 frames are taken."""
    folder = tmp_path_factory.mktemp("clips")
    first = video(folder / "first.mp4", with_sound=True)
    return first, video(folder / "second.mp4", num_frames=20, width=64, height=112, with_sound=True)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Media, Media]:
    """A second and a half, and a quarter of a second."""
    folder = tmp_path_factory.mktemp("sounds")
    return sound(folder / "first.wav"), sound(folder / "second.wav", seconds=0.25)


def media_row(*media: Media, row: int = 0) -> MediaRow:
    return MediaRow(tuple((item, RowSource("rows.json", row)) for item in media))


def own_tensors(preprocessor: Preprocessor, rows: Sequence[MediaRow]) -> dict[str, torch.Tensor]:
    """The processor's own call on bare placeholders and all media, without what follows the text."""
    texts = ["".join(preprocessor.placeholder(media.kind) for media, _ in row.items) for row in rows]
    loaded = [[load_medium(media, preprocessor) for media, _ in row.items] for row in rows]
    sequence = learn_outputs(preprocessor).sequence
    outputs = plain_call(preprocessor.processor, texts, loaded, padding=True)
    return {name: torch.as_tensor(value) for name, value in outputs.items() if name not in sequence}


def assert_the_processors_own(preprocessor: Preprocessor, rows: Sequence[MediaRow]) -> None:
    made, own = MediaInputs(preprocessor)(rows), own_tensors(preprocessor, rows)
    assert made.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(made[name], value), name


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_images(kind: str, preprocessor_of: PreprocessorOf) -> None:
    one, two, three = PICTURES
    rows = [media_row(one), media_row(two, three, row=1), media_row(two, row=2)]
    assert_the_processors_own(preprocessor_of(kind), rows)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl", "glm4v", "qwen2_5_omni"])
def test_videos(kind: str, preprocessor_of: PreprocessorOf, clips: tuple[Media, Media]) -> None:
    first, second = clips
    assert_the_processors_own(preprocessor_of(kind), [media_row(first), media_row(second, row=1)])


@pytest.mark.parametrize("kind", ["internvl", "llava_onevision", "minicpmv4_6", "smolvlm"])
def test_videos_that_need_the_same_number_of_frames(
    kind: str, preprocessor_of: PreprocessorOf, clips: tuple[Media, Media]
) -> None:
    preprocessor = preprocessor_of(kind)
    assert_the_processors_own(preprocessor, [media_row(clips[0]), media_row(clips[0], row=1)])


@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_sound(kind: str, preprocessor_of: PreprocessorOf, sounds: tuple[Media, Media]) -> None:
    first, second = sounds
    assert_the_processors_own(preprocessor_of(kind), [media_row(first, second), media_row(second, row=1)])


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "internvl", "qwen2_5_omni"])
def test_images_and_videos_in_one_row(kind: str, preprocessor_of: PreprocessorOf, clips: tuple[Media, Media]) -> None:
    rows = [media_row(PICTURES[0], clips[0], PICTURES[1])]
    assert_the_processors_own(preprocessor_of(kind), rows)


def test_all_three_kinds(
    preprocessor_of: PreprocessorOf, clips: tuple[Media, Media], sounds: tuple[Media, Media]
) -> None:
    rows = [media_row(sounds[0], clips[0], PICTURES[0]), media_row(PICTURES[1], sounds[1], row=1)]
    assert_the_processors_own(preprocessor_of("qwen2_5_omni"), rows)


def test_each_video_keeps_its_own_rate(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    long = video(tmp_path / "long.mp4", num_frames=40)
    preprocessor = preprocessor_of("qwen2_5_omni")
    few = replace(preprocessor, media=MediaSettings(video_maxlen=4))

    made = MediaInputs(few)([media_row(long, video(tmp_path / "short.mp4", num_frames=20))])

    # 4 frames of 4 s and of 2 s, two to a step
    assert made["video_second_per_grid"].tolist() == [2.0, 1.0]


def test_the_sound_of_videos_stands_among_the_other_sounds(
    preprocessor_of: PreprocessorOf, clips: tuple[Media, Media], sounds: tuple[Media, Media]
) -> None:
    preprocessor = replace(preprocessor_of("qwen2_5_omni"), media=MediaSettings(use_audio_in_video=True))

    made = MediaInputs(preprocessor)([media_row(sounds[0], clips[0], sounds[1])])

    loaded = load_medium(clips[0], preprocessor)
    assert isinstance(loaded, Clip)
    assert loaded.sound is not None and len(loaded.sound) == loaded.shape.num_sound_samples
    assert loaded.sound.dtype == np.float32 and abs(len(loaded.sound) - 48_000) < 2_000  # whole blocks of 1024 samples
    extractor = preprocessor.processor.feature_extractor
    waves = [load_medium(sounds[0], preprocessor), loaded.sound, load_medium(sounds[1], preprocessor)]
    features = extractor(waves, sampling_rate=16_000, padding="max_length", return_tensors="pt")["input_features"]
    assert torch.equal(made["input_features"], features)
    assert made["feature_attention_mask"].sum(1).tolist() == [150, -(-len(loaded.sound) // 160), 25]
    assert made["use_audio_in_video"].item() is True


def test_a_video_without_sound_where_sound_is_asked_for(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    preprocessor = replace(preprocessor_of("qwen2_5_omni"), media=MediaSettings(use_audio_in_video=True))
    silent = video(tmp_path / "silent.mp4")
    with pytest.raises(DataError, match=r"silent\.mp4: the video has no sound; .*use_audio_in_video: false"):
        probe_shape(silent, preprocessor)


def test_nothing_without_media(preprocessor_of: PreprocessorOf) -> None:
    assert MediaInputs(preprocessor_of("qwen2_5_vl"))([media_row(), media_row(row=1)]) == {}
    assert MediaInputs(preprocessor_of("qwen2"))([media_row()]) == {}


def test_an_image_is_decoded_and_processed_once_and_kept(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    assert isinstance(PICTURES[0].source, bytes)
    file.write_bytes(PICTURES[0].source)
    on_disk = Media("image", str(file))
    inputs = MediaInputs(preprocessor_of("qwen2_5_vl"))

    first, second = inputs([media_row(on_disk), media_row(on_disk, row=1)])["pixel_values"].chunk(2)
    file.unlink()
    again = inputs([media_row(on_disk)])["pixel_values"]

    assert torch.equal(first, second)
    assert torch.equal(again, first)


def test_an_unreadable_image_names_its_row(preprocessor_of: PreprocessorOf) -> None:
    rows = [media_row(PICTURES[0]), media_row(Media("image", "gone.png"), row=1)]
    with pytest.raises(DataError, match=r"rows\.json, row 1: gone\.png"):
        MediaInputs(preprocessor_of("qwen2_5_vl"))(rows)


def test_a_refused_image_names_its_row(preprocessor_of: PreprocessorOf) -> None:
    with pytest.raises(DataError, match=r"^rows\.json, row 7: the model's processor refuses the image: .*aspect ratio"):
        MediaInputs(preprocessor_of("qwen2_5_vl"))([media_row(PICTURES[0]), media_row(picture(900, 4), row=7)])


def test_videos_that_do_not_go_into_one_batch(preprocessor_of: PreprocessorOf, clips: tuple[Media, Media]) -> None:
    with pytest.raises(DataError, match=r"row 0; rows\.json, row 1: .*per_device_train_batch_size: 1"):
        MediaInputs(preprocessor_of("llava_onevision"))([media_row(clips[0]), media_row(clips[1], row=1)])


def test_the_frames_are_those_of_the_plan(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    medium = video(tmp_path / "a.mp4", num_frames=40)
    preprocessor = replace(preprocessor_of("qwen2_5_vl"), media=MediaSettings(video_fps=1.0))
    clip = load_medium(medium, preprocessor)
    assert isinstance(clip, Clip)
    assert clip.shape == probe_shape(medium, preprocessor)
    brightness = np.asarray(clip.frames[:, 0].float().mean(dim=(1, 2)))
    assert np.allclose(brightness, [255 * index / 40 for index in clip.shape.indices], atol=4)
