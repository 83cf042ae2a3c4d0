"""What messages call a medium."""

from __future__ import annotations

import pytest

from tunesmith.chat.message import Media


@pytest.mark.parametrize(
    ("media", "name"),
    [
        (Media("image", "pictures/a.png"), "pictures/a.png"),
        (Media("image", "https://x.org/a.png"), "https://x.org/a.png"),
        (Media("audio", b"RIFF"), "<audio of 4 bytes>"),
        (Media("image", "data:image/png;base64,AAAA"), "<image in a data: URI of 26 characters>"),
        (Media("video", ("1.png", "2.png")), "<video of 2 frames, the first 1.png>"),
    ],
)
def test_a_name_is_short_whatever_the_source(media: Media, name: str) -> None:
    assert media.name == name
