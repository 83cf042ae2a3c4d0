"""The options of a processor's call, sorted by what they are for.

Options come flat, as the published processors take them, or in images_kwargs, videos_kwargs, audio_kwargs and
text_kwargs, as transformers' do. Knows names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.models.families.minicpmv.template import VIDEO_MARKER

_IMAGES = frozenset({"max_slice_nums", "use_image_id"})
_VIDEOS = frozenset({"video_metadata", "do_sample_frames", "fps", "num_frames"})
_AUDIO = frozenset({"sampling_rate", "chunk_input", "load_audio_backend"})
_WITHOUT_EFFECT = frozenset(
    {"do_pad", "return_metadata", "return_mm_token_type_ids", "return_text_replacement_offsets", "device"}
)
"""What transformers or published examples may pass, and nothing here depends on."""

_TEXT = {"padding": True, "return_tensors": "pt"}
"""As the published processors do; they cut at a `max_length` too, where transformers would only pad to it."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options by what they are for. None is left out, but for `return_tensors`, where it asks for lists.

    max_slice_nums: of pictures; None leaves the image processor's own
    use_image_id:   whether pictures are numbered; None leaves the image processor's own
    """

    max_slice_nums: int | None = None
    use_image_id: bool | None = None
    videos: Mapping[str, Any] = field(default_factory=dict)
    audio: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)


def sort_options(options: Mapping[str, Any]) -> CallOptions:
    """What the keyword arguments of a call say; those of a kind of media win over flat ones of the same name.

    Raises ValueError for `temporal_ids`, by which published code says that pictures are frames.
    """
    if options.get("temporal_ids") is not None:
        raise ValueError(
            f"temporal_ids are not taken: give the frames as `videos` where the text has one {VIDEO_MARKER}, and when "
            "they were taken as video_metadata"
        )
    given = {name: value for name, value in options.items() if value is not None or name == "return_tensors"}
    common = given.pop("common_kwargs", {})
    images, videos, audio, text = (given.pop(f"{kind}_kwargs", {}) for kind in ("images", "videos", "audio", "text"))
    flat = {**common, **given}
    images = {**_only(flat, _IMAGES), **images}
    names = _IMAGES | _VIDEOS | _AUDIO | _WITHOUT_EFFECT
    rest = {name: value for name, value in flat.items() if name not in names} | dict(text)
    return CallOptions(
        max_slice_nums=images.get("max_slice_nums"),
        use_image_id=images.get("use_image_id"),
        videos={**_only(flat, _VIDEOS), **videos},
        audio={**_only(flat, _AUDIO), **audio},
        text={**_TEXT, "truncation": "max_length" in rest, **rest},
    )


def _only(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}
