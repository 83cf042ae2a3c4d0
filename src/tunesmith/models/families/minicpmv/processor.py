"""MiniCPM-V's and MiniCPM-o's processors: texts with markers, and their media, become what the model's forward takes.

Called as transformers' processors are, and as the published ones: `processor(text, images)`. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin, WhisperFeatureExtractor

from tunesmith.models.families.minicpmv.audio_features import (
    ProcessedSound,
    SoundLayout,
    process_sounds,
    read_sound_layout,
)
from tunesmith.models.families.minicpmv.call_options import CallOptions, sort_options
from tunesmith.models.families.minicpmv.given_media import Nested, flat_pictures, flat_sounds, flat_videos
from tunesmith.models.families.minicpmv.image_processor import (
    MiniCPMVImageProcessor,
    read_image_processor,
    write_image_processor,
)
from tunesmith.models.families.minicpmv.pixels import Picture, picture_size
from tunesmith.models.families.minicpmv.placeholders import image_text
from tunesmith.models.families.minicpmv.placing import Placed, media_tensors, place, require_counts
from tunesmith.models.families.minicpmv.published import Published, read_published
from tunesmith.models.families.minicpmv.template import (
    AUDIO_MARKER,
    IMAGE_MARKER,
    VIDEO_MARKER,
    with_parts,
    without_parts,
)
from tunesmith.models.families.minicpmv.tokenizer import read_tokenizer, write_tokenizer
from tunesmith.models.families.minicpmv.video_processor import MiniCPMVVideoProcessor

_WHISPER = ("feature_size", "sampling_rate", "hop_length", "chunk_length", "n_fft", "padding_value", "dither")
"""Keys of preprocessor_config.json that are the feature extractor's."""


class MiniCPMVProcessor(ProcessorMixin):
    """For images and videos. `is_3d`: the model has the 3-D resampler, which is told of frames and their times."""

    model_type = "minicpmv"
    image_token = IMAGE_MARKER
    video_token = VIDEO_MARKER

    def __init__(
        self,
        image_processor: MiniCPMVImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
        *,
        is_3d: bool = False,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # transformers has no types here
            image_processor=image_processor, tokenizer=tokenizer, chat_template=chat_template
        )
        self._take_frames(image_processor, is_3d=is_3d)

    def _take_frames(self, image_processor: MiniCPMVImageProcessor, *, is_3d: bool) -> None:
        self.video_processor = MiniCPMVVideoProcessor(image_processor, is_3d=is_3d)
        self.is_3d = is_3d
        self.published: Published | None = None
        """The folder it was read from, for what `save_pretrained` keeps of it."""

    @classmethod
    def from_pretrained(  # type: ignore[override]  # of folders only
        cls, folder: str | Path, **_options: object
    ) -> MiniCPMVProcessor:
        """The processor of a model's folder, as `read_processor` reads it."""
        return read_processor(Path(folder))

    @property
    def markers(self) -> dict[str, str]:
        """What stands in a text for a medium of each kind that the model takes."""
        return {"image": IMAGE_MARKER, "video": VIDEO_MARKER}

    def __call__(
        self,
        text: str | Sequence[str],
        images: Nested = None,
        videos: Nested = None,
        audio: Nested = None,
        **options: Any,
    ) -> BatchFeature:
        """input_ids and attention_mask (B, T) of texts whose markers stand for the media, in order; then, of all texts
        behind each other and only for kinds that are there:

        pixel_values (P, 3, 14, 14), tgt_sizes (S, 2): patches of the slices of pictures and frames, and their numbers
        temporal_ids (S,), group_sizes (G,): for the 3-D resampler only
        audio_features (C, bins, 3000), audio_feature_lens (C,), audio_clip_sizes (A,): pieces of sounds

        Texts are padded to the longest, and everything is tensors, unless options of the tokenizer say otherwise.
        `max_slice_nums` and `use_image_id` apply to pictures. Raises ValueError where markers and media differ in
        number, for media that cannot be taken, and where a `max_length` would cut one's tokens.
        """
        texts = [text] if isinstance(text, str) else list(text)
        sorted_options = sort_options(options)
        waiting = {
            IMAGE_MARKER: self._pictures(texts, images, sorted_options),
            VIDEO_MARKER: self._clips(texts, videos, sorted_options),
            AUDIO_MARKER: self._sounds(texts, audio, sorted_options),
        }
        written, placed = place(texts, waiting)
        ids = self._tokenise(written, sorted_options.text)
        return BatchFeature({**ids, **media_tensors(placed, is_3d=self.is_3d)})

    def _pictures(self, texts: Sequence[str], images: Nested, options: CallOptions) -> Iterator[Placed]:
        flat = flat_pictures(images)
        counts = require_counts(texts, IMAGE_MARKER, flat=flat, given=images)
        numbers = [number for count in counts for number in range(count)]
        return (self._picture(picture, number, options) for picture, number in zip(flat, numbers, strict=True))

    def _picture(self, picture: Picture, number: int, options: CallOptions) -> Placed:
        image_processor, max_slices = self.image_processor, options.max_slice_nums
        is_numbered = image_processor.use_image_id if options.use_image_id is None else options.use_image_id
        grid = image_processor.grid_of(picture_size(picture), max_slice_nums=max_slices)
        text = image_text(image_processor.marks, grid, number=number if is_numbered else None)
        return Placed(text, image_processor.cut(picture, max_slice_nums=max_slices))

    def _clips(self, texts: Sequence[str], videos: Nested, options: CallOptions) -> Iterator[Placed]:
        flat = flat_videos(videos)
        require_counts(texts, VIDEO_MARKER, flat=flat, given=videos)
        return (Placed(video.text, video.visual) for video in self.video_processor(flat, **options.videos))

    def _sounds(self, texts: Sequence[str], audio: Nested, options: CallOptions) -> Iterator[Placed]:
        flat = flat_sounds(audio)
        require_counts(texts, AUDIO_MARKER, flat=flat, given=audio)
        return (Placed(sound.text, sound) for sound in self._hear(flat, options.audio))

    def _hear(
        self,
        sounds: Sequence[np.ndarray],
        options: Mapping[str, Any],  # noqa: ARG002 - for models that hear
    ) -> list[ProcessedSound]:
        if sounds:
            raise ValueError("this model takes images and videos, no sound")
        return []

    def _tokenise(self, texts: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
        encoded = dict(self.tokenizer(texts, **options))
        if "max_length" in options or options.get("truncation"):
            self._require_whole_runs(texts, encoded["input_ids"])
        return encoded

    def _require_whole_runs(self, texts: Sequence[str], rows: Any) -> None:
        unk = self.image_processor.marks.unk
        number = self.tokenizer.convert_tokens_to_ids(unk)
        for text, row in zip(texts, rows, strict=True):
            kept = sum(int(token) == number for token in row)
            if kept != text.count(unk):
                raise ValueError(
                    f"max_length leaves {kept} of the {text.count(unk)} tokens that stand for media; set a larger "
                    "max_length, or a smaller max_slice_nums"
                )

    def _of_model(self) -> dict[str, Any]:
        """What the processor was told by the model's config.json, under its keys there."""
        return {"batch_3d_resampler": True} if self.is_3d else {}

    def to_dict(self) -> dict[str, Any]:
        """What its results depend on besides the tokenizer, as JSON."""
        return {
            "processor_class": type(self).__name__,
            "image_processor": self.image_processor.to_dict(),
            "is_3d": self.is_3d,
        }

    def save_pretrained(  # type: ignore[override]  # into folders only
        self, folder: str | Path, **_options: object
    ) -> list[str]:
        """Write the files it was read from, in the published form, so that the model's own code reads them too.

        What config.json says stands in them as well: an adapter's folder has none.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        config = {} if self.published is None else dict(self.published.tokenizer_config)
        if self.published is not None:
            self.published.copy_files(target)
        if self.chat_template is not None:
            config["chat_template"] = without_parts(self.chat_template, self.markers)
        write_tokenizer(self.tokenizer, target, published={**config, "model_type": self.model_type})
        write_image_processor(self.image_processor, target, of_model=self._of_model())
        return [str(file) for file in sorted(target.iterdir())]


class MiniCPMOProcessor(MiniCPMVProcessor):
    """For images, videos and sound, which becomes tokens as `sound_layout` says."""

    model_type = "minicpmo"
    audio_token = AUDIO_MARKER
    max_audio_samples: int | None = None
    """Of any length: sound is heard in pieces of 30 s."""
    weaves_sound_into_videos = False
    """The published omni mode, a frame and a second of sound by turns, is not built."""

    def __init__(
        self,
        image_processor: MiniCPMVImageProcessor,
        feature_extractor: WhisperFeatureExtractor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
        *,
        is_3d: bool = False,
        sound_layout: SoundLayout | None = None,
    ) -> None:
        ProcessorMixin.__init__(  # type: ignore[no-untyped-call]  # of other parts than its own super class
            self,
            image_processor=image_processor,
            feature_extractor=feature_extractor,
            tokenizer=tokenizer,
            chat_template=chat_template,
        )
        self._take_frames(image_processor, is_3d=is_3d)
        self.sound_layout = sound_layout or SoundLayout()

    @property
    def markers(self) -> dict[str, str]:
        """What stands in a text for a medium of each kind that the model takes."""
        return {**super().markers, "audio": AUDIO_MARKER}

    def _hear(self, sounds: Sequence[np.ndarray], options: Mapping[str, Any]) -> list[ProcessedSound]:
        layout = {"pool_step": self.sound_layout.pool_step, "chunk_input": self.sound_layout.chunk_input}
        return process_sounds(sounds, self.feature_extractor, **{**layout, **options})

    def _of_model(self) -> dict[str, Any]:
        layout = {"audio_pool_step": self.sound_layout.pool_step, "chunk_input": self.sound_layout.chunk_input}
        return {**super()._of_model(), **layout}

    def to_dict(self) -> dict[str, Any]:
        """What its results depend on besides the tokenizer, as JSON."""
        layout = [self.sound_layout.pool_step, self.sound_layout.chunk_input]
        return {**super().to_dict(), "feature_extractor": self.feature_extractor.to_dict(), "sound_layout": layout}


def read_processor(folder: Path) -> MiniCPMVProcessor:
    """The processor of a published folder, without running its code.

    Raises OSError without preprocessor_config.json or tokenizer files, ValueError for damaged ones.
    """
    image_processor = read_image_processor(folder)
    published = read_published(folder)
    tokenizer = read_tokenizer(folder, published.tokenizer_config)
    config = {**image_processor.to_dict(), **published.model_config}
    is_3d = bool(config.get("batch_3d_resampler"))
    processor: MiniCPMVProcessor
    if _hears(config):
        extractor = _feature_extractor(image_processor.to_dict())
        layout = read_sound_layout(config)
        processor = MiniCPMOProcessor(image_processor, extractor, tokenizer, is_3d=is_3d, sound_layout=layout)
    else:
        processor = MiniCPMVProcessor(image_processor, tokenizer, is_3d=is_3d)
    processor.published = published
    if tokenizer.chat_template is not None:
        processor.chat_template = with_parts(tokenizer.chat_template, processor.markers)
    return processor


def _hears(config: Mapping[str, Any]) -> bool:
    has_extractor = "feature_extractor_type" in config or config.get("model_type") == MiniCPMOProcessor.model_type
    return has_extractor and bool(config.get("init_audio", True))


def _feature_extractor(published: Mapping[str, Any]) -> WhisperFeatureExtractor:
    extractor: Any = WhisperFeatureExtractor
    made: WhisperFeatureExtractor = extractor(**{name: published[name] for name in _WHISPER if name in published})
    return made
