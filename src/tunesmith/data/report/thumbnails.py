"""A row's media small enough for a page: a picture, a strip of frames, the length of a sound.

A medium that cannot be read is shown as the reason why. Knows nothing of rows.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tunesmith.chat.message import Media
from tunesmith.errors import DataError, MissingExtraError
from tunesmith.media.audio import probe_audio
from tunesmith.media.image import open_image
from tunesmith.media.video import probe_video, read_frames

_LONGEST_SIDE = 160
_NUM_FRAMES = 4


def draw_media(media: Media) -> str:
    """One <figure>: what there is to see, its name and its size."""
    name, short = html.escape(media.name), html.escape(_short_name(media))
    try:
        images, facts = _look(media)
    except (DataError, MissingExtraError) as error:
        return f'<figure class="wide"><figcaption>{html.escape(str(error))}</figcaption></figure>'
    shown = "".join(f'<img alt="{name}" src="data:image/jpeg;base64,{_encode(image)}"> ' for image in images)
    css = ' class="wide"' if len(images) != 1 else ""
    return f'<figure{css} title="{name}">{shown}<figcaption>{short}<br>{facts}</figcaption></figure>'


def _look(media: Media) -> tuple[Sequence[Image.Image], str]:
    if media.kind == "video":
        return _look_at_video(media)
    if media.kind == "audio":
        info = probe_audio(media)
        return (), f"♪ {info.duration_s:.1f} s, {info.sampling_rate:,} Hz"
    image = open_image(media)
    return (image,), f"{image.width} × {image.height}"


def _look_at_video(media: Media) -> tuple[Sequence[Image.Image], str]:
    info = probe_video(media)
    count = min(_NUM_FRAMES, info.num_frames)
    frames = read_frames(media, [round(index) for index in np.linspace(0, info.num_frames - 1, count)])
    sound = ", with sound" if info.has_audio else ""
    length = "" if info.duration_s is None else f", {info.duration_s:.1f} s"
    facts = f"{info.width} × {info.height}, {info.num_frames:,} frames{length}{sound}"
    return [Image.fromarray(frame) for frame in frames], facts


def _encode(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=80)
    return base64.b64encode(encoded.getvalue()).decode("ascii")


def _short_name(media: Media) -> str:
    """A file's or URL's last part; what is no path has a name that says so in <>."""
    return media.name if media.name.startswith("<") else Path(media.name).name
