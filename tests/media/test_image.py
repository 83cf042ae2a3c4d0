"""Images: the probe says what the picture will be, and damaged files are named."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from transformers.image_utils import load_image

from tests.media.test_fetch import write_tar
from tests.media.web_server import serve_site
from tunesmith.chat.message import Media
from tunesmith.errors import DataError
from tunesmith.media.image import check_image, open_image, probe_image


def gradient(width: int = 6, height: int = 4) -> Image.Image:
    """An RGB image in which every pixel has its own colour."""
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 3
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def saved(image: Image.Image, path: Path, **options: object) -> Media:
    image.save(path, **options)
    return Media("image", str(path))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_every_exif_orientation_comes_out_upright_as_in_transformers(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    media = saved(gradient(), tmp_path / f"image.{suffix}", exif=exif)
    opened = open_image(media)
    assert probe_image(media) == opened.size == ((4, 6) if orientation >= 5 else (6, 4))
    assert np.array_equal(np.asarray(opened), np.asarray(load_image(media.source)))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "gif"), ("RGBA", "png"), ("CMYK", "tiff"), ("CMYK", "jpg")],
)
def test_every_mode_becomes_rgb_as_in_transformers(tmp_path: Path, mode: str, suffix: str) -> None:
    media = saved(gradient().convert(mode), tmp_path / f"image.{suffix}")
    opened = open_image(media)
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), np.asarray(load_image(media.source)))


def test_a_transparent_palette_keeps_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    opened = open_image(Media("image", encoded(image, "PNG", transparency=1)))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 255, 0)]


def test_16_bit_grey_is_scaled_not_clipped_to_white() -> None:
    grey = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))
    opened = open_image(Media("image", encoded(grey, "PNG")))
    assert [opened.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (3, 3), "red"), Image.new("RGB", (3, 3), "blue")
    media = saved(red, tmp_path / "two.gif", save_all=True, append_images=[blue])
    assert open_image(media).getpixel((0, 0)) == (255, 0, 0)


def test_bytes_work_like_a_file() -> None:
    media = Media("image", encoded(gradient(), "PNG"))
    assert probe_image(media) == (6, 4)
    assert np.array_equal(np.asarray(open_image(media)), np.asarray(gradient()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_source_gives_the_same_image(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this PIL was built without AVIF")
    content = encoded(gradient(), kind)
    archive = write_tar(tmp_path / "shard.tar", {"note": b"x" * 999, "a.img": content})
    sources = (content, f"{archive}::a.img", f"data:image/x;base64,{base64.b64encode(content).decode()}")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for source in sources:
        media = Media("image", source)
        assert check_image(media) == (6, 4)
        assert np.array_equal(np.asarray(open_image(media)), expected)


def test_an_image_by_url_is_downloaded_for_its_probe_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    with serve_site({"picture.png": encoded(gradient(), "PNG")}) as site:
        media = Media("image", f"{site.address}/picture.png")
        assert probe_image(media) == (6, 4)
    assert np.array_equal(np.asarray(open_image(media)), np.asarray(gradient()))  # the server is gone


def test_a_url_that_gives_no_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    with (
        serve_site({"page.jpg": b"<html>login</html>"}) as site,
        pytest.raises(DataError, match=rf"{site.address}/page\.jpg: not an image"),
    ):
        probe_image(Media("image", f"{site.address}/page.jpg"))


def test_a_file_that_changes_is_probed_again(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    assert probe_image(saved(gradient(6, 4), path)) == (6, 4)
    assert probe_image(saved(gradient(30, 20), path)) == (30, 20)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"page\.jpg: not an image"):
        probe_image(Media("image", str(path)))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        probe_image(Media("image", str(tmp_path / "gone.png")))
    with pytest.raises(DataError, match=str(tmp_path)):
        probe_image(Media("image", str(tmp_path)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_cut_off_pixels_are_found_by_the_check_and_never_filled_in(tmp_path: Path, kind: str) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50), kind)
    path = tmp_path / "half.img"
    path.write_bytes(whole[: len(whole) // 2])
    media = Media("image", str(path))
    with pytest.raises(DataError, match=r"half\.img: the image is damaged"):
        open_image(media)
    with pytest.raises(DataError, match=r"half\.img: the image is damaged"):
        check_image(media)


def test_bytes_after_the_end_of_a_jpeg_are_no_damage() -> None:
    assert check_image(Media("image", encoded(gradient(), "JPEG") + b"trailer of a phone")) == (6, 4)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = saved(gradient(50, 40), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(DataError, match=r"large\.png: too large to decode safely"):
        probe_image(media)
