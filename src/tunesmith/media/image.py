"""Images: size from the header, pixels when asked, always upright RGB.

The picture may come from wherever media/fetch.py reaches. All follow transformers' `load_image`: the EXIF orientation
is applied, then the pixels become RGB. `probe_image` gives the size that `open_image` will have, without decoding.
Two deliberate differences: 16-bit greyscale is scaled to 8 bits (`convert("RGB")` alone clips it to white), and the
orientation is read from what stands before the pixels, so that the probe and the picture cannot disagree.

Knows nothing of rows, budgets or processors; never imports torch.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from PIL import ExifTags, Image, UnidentifiedImageError

from tunesmith.errors import DataError
from tunesmith.media.download import DEFAULT_LIMITS, UrlLimits
from tunesmith.media.fetch import Content, MediaReference, find_content, open_content

Size = tuple[int, int]
"""(width, height) in pixels."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation (as PIL.ImageOps.exif_transpose); 5 to 8 swap width and height."""

_WIDE_GREY = {"I;16", "I;16L", "I;16B", "I;16N"}
_REMEMBERED_FILES = 4096
"""So that memory does not grow with the rows."""


def probe_image(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> Size:
    """(width, height) of the upright image, from its header only; remembered per file.

    Raises DataError for a missing file, something that is no image, a cut-off header or an image too large to decode.
    """
    content = find_content(media, limits=limits)
    return _probe(content, media.name) if isinstance(content, bytes) else _probe_file(content, media.name)


def open_image(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> Image.Image:
    """The upright image in mode RGB, its first frame if it has several.

    Raises DataError as probe_image does, and for pixel data that is cut off or broken.
    """
    with _opened(find_content(media, limits=limits), media.name) as image:
        orientation = _orientation(image)
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        return _to_rgb(upright)


def check_image(media: MediaReference, *, limits: UrlLimits = DEFAULT_LIMITS) -> Size:
    """probe_image, and for a file whose end looks cut off a full decode: what a look before training can afford.

    Raises DataError as open_image does.
    """
    size = probe_image(media, limits=limits)
    if _looks_cut_off(find_content(media, limits=limits)):
        open_image(media, limits=limits)
    return size


def _probe(content: Content, name: str) -> Size:
    with _opened(content, name) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


_probe_file = lru_cache(maxsize=_REMEMBERED_FILES)(_probe)


@contextmanager
def _opened(content: Content, name: str) -> Iterator[Image.Image]:
    """The lazily opened image; every way in which PIL refuses it, now or while decoding, becomes a DataError."""
    try:
        with open_content(content) as file, Image.open(file) as image:
            if 0 in image.size:
                raise DataError(f"{name}: the image has no pixels ({image.width} x {image.height})")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image (or its beginning is damaged, or PIL cannot read its kind)") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to decode safely ({error}); shrink the file") from None
    except PermissionError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error) as error:
        # PIL's plug-ins raise all of these for damaged files
        raise DataError(f"{name}: the image is damaged ({error})") from None


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # PIL turns TIFF files itself, and reports the turned size
    # the plain method: PngImageFile's own would decode all pixels to look for EXIF behind them
    return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode in _WIDE_GREY or (image.mode == "I" and image.format == "PNG"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("RGB")


def _looks_cut_off(content: Content) -> bool:
    """Whether the file's end is not how its format ends; cheap, and wrong only towards a needless decode."""
    with open_content(content) as file:
        head = file.read(12)
        num_bytes = file.seek(0, io.SEEK_END)
        file.seek(max(0, num_bytes - 16))
        tail = file.read()
    if head.startswith(b"\xff\xd8"):
        return not tail.endswith(b"\xff\xd9")
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return int.from_bytes(head[4:8], "little") + 8 > num_bytes
    return head.startswith(b"GIF8") and not tail.endswith(b";")
