from __future__ import annotations

import torch

from tunesmith.chat.message import Media
from tunesmith.data.batches.processed_media import ProcessedMedia, media_key


def test_what_was_not_used_for_longest_goes_first() -> None:
    store = ProcessedMedia(max_bytes=24)
    tensors = {name: {"pixels": torch.full((2,), float(number))} for number, name in enumerate("abc")}
    for name in "abc":
        store.put(name, tensors[name])
    assert store.get("a") is tensors["a"]

    store.put("d", {"pixels": torch.zeros(2)})

    assert [name for name in "abcd" if store.get(name) is not None] == ["a", "c", "d"]


def test_nothing_larger_than_the_whole_is_kept() -> None:
    store = ProcessedMedia(max_bytes=24)
    store.put("small", {"pixels": torch.zeros(2)})
    store.put("large", {"pixels": torch.zeros(7)})
    assert store.get("large") is None
    assert store.get("small") is not None


def test_bytes_are_named_by_their_content_and_kinds_apart() -> None:
    picture = Media("image", b"one" * 1000)
    assert media_key(picture, "image") == media_key(Media("image", b"one" * 1000), "image")
    assert media_key(picture, "image") != media_key(Media("image", b"two" * 1000), "image")
    clip = Media("video", "clip.mp4")
    assert media_key(clip, "video") != media_key(clip, "audio")
