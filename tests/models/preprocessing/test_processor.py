from __future__ import annotations

import logging
import resource
import shutil
from pathlib import Path

import pytest
from PIL import Image
from transformers import CLIPImageProcessor, Glm4vImageProcessor, Qwen2VLImageProcessor

from tests.models.given import settings_for
from tests.tiny import tiny_folder
from tunesmith.config.model import MediaSettings
from tunesmith.errors import DataError, ModelError, UsageError
from tunesmith.log import forget_said
from tunesmith.models.preprocessing.image_limits import pixels_counted_per_pixel
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor, read_preprocessor


def num_tokens(preprocessor: Preprocessor, width: int, height: int) -> int:
    """How many tokens the model's own processor makes of a picture."""
    image_processor = preprocessor.processor.image_processor
    grid = image_processor(Image.new("RGB", (width, height)))["image_grid_thw"][0]
    return int(grid.prod()) // image_processor.merge_size**2


def load(folder: Path, **media: int) -> Preprocessor:
    return load_preprocessor(settings_for(folder).model, MediaSettings(**media))


def test_a_text_model_has_a_tokenizer_and_no_processor(qwen2_folder: Path) -> None:
    preprocessor = load(qwen2_folder)

    assert preprocessor.processor is None
    assert preprocessor.chat_template.startswith("{% for message in messages %}")
    assert preprocessor.special_tokens["eos_token"] == "<|im_end|>"


def test_a_multimodal_model_has_both_and_they_are_one(qwen2_5_vl_folder: Path) -> None:
    preprocessor = load(qwen2_5_vl_folder)

    assert preprocessor.processor.tokenizer is preprocessor.tokenizer
    assert "<|vision_start|>" in preprocessor.chat_template


def test_a_base_model_has_no_template_and_pads_with_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_folder("phi", tmp_path)
    forget_said()

    with caplog.at_level(logging.INFO, logger="tunesmith"):
        preprocessor = load(folder)

    assert preprocessor.chat_template is None
    assert preprocessor.tokenizer.pad_token == "<|endoftext|>"
    assert "no padding token; <|endoftext|> is used" in caplog.text


def test_the_pixel_budget_goes_to_a_processor_that_has_one(qwen2_5_vl_folder: Path) -> None:
    assert num_tokens(load(qwen2_5_vl_folder), 400, 300) == 54
    limited = load(qwen2_5_vl_folder, image_max_pixels=28 * 28 * 9)

    assert not limited.pre_shrinks_images
    assert num_tokens(limited, 400, 300) == 6
    assert num_tokens(load(qwen2_5_vl_folder, image_min_pixels=28 * 28 * 16), 20, 20) == 16


def test_one_bound_never_crosses_the_processors_other_one(qwen2_5_vl_folder: Path) -> None:
    tiny = load(qwen2_5_vl_folder, image_max_pixels=100).processor.image_processor.size
    huge = load(qwen2_5_vl_folder, image_min_pixels=10**6).processor.image_processor.size

    assert (tiny["shortest_edge"], tiny["longest_edge"]) == (100, 100)
    assert (huge["shortest_edge"], huge["longest_edge"]) == (10**6, 10**6)


def test_contradicting_bounds(qwen2_5_vl_folder: Path) -> None:
    with pytest.raises(UsageError, match="image_min_pixels 5000 is larger than image_max_pixels 4000"):
        load(qwen2_5_vl_folder, image_min_pixels=5000, image_max_pixels=4000)


def test_a_budget_that_counts_frames_is_given_frames(tmp_path: Path) -> None:
    folder = tiny_folder("glm4v", tmp_path)

    assert num_tokens(load(folder, image_max_pixels=28 * 28 * 9), 280, 280) == 9


def test_other_processors_leave_the_budget_to_be_applied_before(tmp_path: Path) -> None:
    folder = tiny_folder("llava", tmp_path)

    assert load(folder, image_max_pixels=10_000).pre_shrinks_images
    assert not load(folder).pre_shrinks_images


def test_which_processors_have_a_budget() -> None:
    assert pixels_counted_per_pixel(Qwen2VLImageProcessor()) == 1
    assert pixels_counted_per_pixel(Glm4vImageProcessor()) == 2
    assert pixels_counted_per_pixel(CLIPImageProcessor()) is None


def test_switches_reach_processors_that_have_them_and_warn_elsewhere(
    qwen2_5_vl_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gemma = load(tiny_folder("gemma3", tmp_path / "gemma"), image_do_pan_and_scan=True)
    minicpm = load(tiny_folder("minicpmv4_6", tmp_path / "minicpm"), max_slice_nums=2)
    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        load(qwen2_5_vl_folder, crop_to_patches=True)

    assert gemma.processor.image_processor.do_pan_and_scan is True
    assert minicpm.processor.image_processor.max_slice_nums == 2
    assert "crop_to_patches has no effect" in caplog.text


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("qwen2", ()),
        ("gemma3", ("image",)),
        ("qwen2_5_vl", ("image", "video")),
        ("qwen2_audio", ("audio",)),
        ("qwen2_5_omni", ("image", "video", "audio")),
    ],
)
def test_the_kinds_of_media_a_model_takes(kind: str, taken: tuple[str, ...], tmp_path: Path) -> None:
    assert load(tiny_folder(kind, tmp_path)).kinds == taken


def test_a_model_that_hears_says_how(tmp_path: Path) -> None:
    preprocessor = load(tiny_folder("qwen2_audio", tmp_path), audio_sampling_rate=16_000)

    assert preprocessor.placeholder("audio") == "<|AUDIO|>"
    assert preprocessor.sampling_rate == 16_000
    assert preprocessor.max_audio_samples == 64_000
    with pytest.raises(DataError, match="the row has images, but this model takes audio"):
        preprocessor.placeholder("image")


def test_another_sampling_rate_than_the_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="audio_sampling_rate is 24000, but this model hears 16000 samples a second"):
        load(tiny_folder("qwen2_audio", tmp_path), audio_sampling_rate=24_000)


def test_the_frame_budget_goes_to_a_processor_that_counts_frames(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    limited = load(qwen2_5_vl_folder, video_max_pixels=28 * 28 * 9)
    whole = load(tiny_folder("qwen3_vl", tmp_path), video_max_pixels=28 * 28 * 9)

    assert (limited.video_size, limited.pre_shrinks_videos) == ({"shortest_edge": 784, "longest_edge": 7056}, False)
    assert (whole.video_size, whole.pre_shrinks_videos) == (None, True)
    assert load(qwen2_5_vl_folder).video_size is None


def test_added_tokens(qwen2_folder: Path) -> None:
    model = settings_for(qwen2_folder, add_tokens="<a>,<b>", add_special_tokens="<c>", resize_vocab=True).model

    tokenizer = load_preprocessor(model, MediaSettings()).tokenizer

    assert tokenizer.tokenize("x<a><c>") == ["x", "<a>", "<c>"]
    assert tokenizer.decode(tokenizer("<a><c>")["input_ids"], skip_special_tokens=True) == "<a>"


def test_added_tokens_need_a_vocabulary_that_may_grow(qwen2_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"bring 2 new tokens.*resize_vocab: true"):
        load_preprocessor(settings_for(qwen2_folder, add_tokens="<a>,<b>").model, MediaSettings())


def test_saved_and_loaded_it_tokenizes_and_limits_as_before(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    before = load(qwen2_5_vl_folder, image_max_pixels=28 * 28 * 9)
    before.save(tmp_path)
    shutil.copy(qwen2_5_vl_folder / "config.json", tmp_path)

    after = read_preprocessor(tmp_path, media=MediaSettings())

    assert after.chat_template == before.chat_template
    assert after.tokenizer("图片 <|im_end|>")["input_ids"] == before.tokenizer("图片 <|im_end|>")["input_ids"]
    assert num_tokens(after, 400, 300) == 6


def test_a_disk_that_fills_up_is_one_message(qwen2_folder: Path, tmp_path: Path) -> None:
    before = load(qwen2_folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk: writing more fails
    try:
        with pytest.raises(ModelError, match="the tokenizer cannot be written to"):
            before.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_multimodal_model_without_its_processor(qwen2_5_vl_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen2_5_vl_folder, tmp_path / "model")
    (folder / "processor_config.json").unlink()

    with pytest.raises(ModelError, match=r"processor"):
        load(folder)
