"""A model's tokenizer and, where it reads media, its processor, set up as the settings say.

The processor is the model's own; only its limits (pixels, tiles) are set here. Knows nothing of rows or batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin

from tunesmith import log
from tunesmith.chat.message import MediaKind
from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.errors import DataError, ModelError, UsageError
from tunesmith.media.frame_budget import PackingRules
from tunesmith.models.families.family import Family
from tunesmith.models.families.table import find_family
from tunesmith.models.files.locate import locate
from tunesmith.models.files.weight_files import check_tokenizer, read_json
from tunesmith.models.load import is_multimodal, load_config, require_name
from tunesmith.models.preprocessing.image_limits import limit_images
from tunesmith.models.preprocessing.template_options import published_options
from tunesmith.models.preprocessing.video_limits import (
    limit_frames,
    settle_downsampling_of_frames,
    settle_frame_cap,
    settle_packing,
)
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.vocabulary import add_tokens

_PARTS: dict[MediaKind, str] = {
    "image": "image_processor",
    "video": "video_processor",
    "audio": "feature_extractor",
}
_SPOKEN: dict[MediaKind, str] = {"image": "images", "video": "videos", "audio": "audio"}


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """What turns text and media into a model's input.

    tokenizer:          always there, with a padding token
    processor:          for multimodal models; its tokenizer is `tokenizer`
    media:              the settings that say how media are read
    pre_shrinks_images: image_max_pixels and image_min_pixels must be applied before the processor sees an image,
                        because it has no pixel budget of its own; False where the processor was given them
    pre_shrinks_videos: the same for frames, video_max_pixels and video_min_pixels
    video_size:         the option `size` of every call with videos; None leaves the processor's own
    packing:            how frames are planned for a processor that packs them; None: as for every model
    template_options:   variables that the published model wants its chat template to be given
    """

    tokenizer: PreTrainedTokenizerBase
    processor: ProcessorMixin | None
    media: MediaSettings = field(default_factory=MediaSettings)
    pre_shrinks_images: bool = False
    pre_shrinks_videos: bool = False
    video_size: dict[str, int] | None = None
    packing: PackingRules | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja chat template, None for base models without one."""
        owner = self.processor if self.processor is not None and self.processor.chat_template else self.tokenizer
        template: str | dict[str, str] | None = owner.chat_template
        return template.get("default") if isinstance(template, dict) else template

    @property
    def special_tokens(self) -> dict[str, str]:
        """`bos_token`, `eos_token` and so on, as chat templates see them."""
        return {name: token for name, token in self.tokenizer.special_tokens_map.items() if isinstance(token, str)}

    @property
    def kinds(self) -> tuple[MediaKind, ...]:
        """The kinds of media that the model takes."""
        return tuple(kind for kind, part in _PARTS.items() if self._placeholder(kind) and hasattr(self.processor, part))

    def placeholder(self, kind: MediaKind) -> str:
        """What a chat template writes where a medium of `kind` stands. Raises DataError if the model takes none."""
        self.require(kind)
        return str(self._placeholder(kind))

    def require(self, kind: MediaKind) -> None:
        """Raise DataError if the model takes no media of `kind`."""
        if kind not in self.kinds:
            raise DataError(
                f"the row has {_SPOKEN[kind]}, but this model takes {_join(self.kinds)}; take a model that does, or "
                f"rows without {kind}"
            )

    @property
    def sampling_rate(self) -> int:
        """Samples a second that the model hears. Only for models that take audio."""
        extractor: Any = self.processor.feature_extractor if self.processor is not None else None
        return int(extractor.sampling_rate)

    @property
    def max_audio_samples(self) -> int | None:
        """Samples after which the model cuts a clip off; None if it says of none, or hears longer ones in pieces."""
        processor: Any = self.processor
        if hasattr(processor, "max_audio_samples"):
            limit: int | None = processor.max_audio_samples
            return limit
        extractor: Any = processor.feature_extractor if processor is not None else None
        return int(extractor.n_samples) if hasattr(extractor, "n_samples") else None

    def _placeholder(self, kind: MediaKind) -> str | None:
        token: str | None = getattr(self.processor, f"{kind}_token", None)
        return token

    def save(self, folder: Path) -> None:
        """Write the tokenizer's and the processor's files into `folder`, in the Hugging Face layout.

        Raises ModelError if the folder cannot be written.
        """
        try:
            with quiet_transformers():
                (self.processor or self.tokenizer).save_pretrained(folder)
        except Exception as error:
            # the library below fast tokenizers raises nothing more specific, even for a full disk
            if not isinstance(error, OSError) and type(error) is not Exception:
                raise
            raise ModelError(f"the tokenizer cannot be written to {folder}: {error}; free some space") from error


def load_preprocessor(model: ModelSettings, media: MediaSettings) -> Preprocessor:
    """The tokenizer and processor of `model_name_or_path`, with added tokens and image limits.

    Raises ModelError for absent or unreadable files, UsageError for tokens that need `resize_vocab`.
    """
    folder = locate(require_name(model), model)
    preprocessor = read_preprocessor(folder, media=media)
    add_tokens(preprocessor.tokenizer, model)
    return preprocessor


def read_preprocessor(folder: Path, *, media: MediaSettings) -> Preprocessor:
    """The tokenizer and processor in `folder`. Raises ModelError for absent or unreadable files."""
    check_tokenizer(folder)
    multimodal = (folder / "config.json").is_file() and is_multimodal(load_config(folder))
    loaded = _read(folder, multimodal=multimodal)
    if isinstance(loaded, PreTrainedTokenizerBase):
        if multimodal:
            raise ModelError(
                f"{folder} is a multimodal model without a processor: copy preprocessor_config.json (or "
                "processor_config.json) of the original model into it"
            )
        _ensure_padding(loaded)
        return Preprocessor(loaded, None, template_options=published_options(folder))
    _ensure_padding(loaded.tokenizer)
    return replace(_limited(loaded, media), template_options=published_options(folder))


def _limited(processor: Any, media: MediaSettings) -> Preprocessor:
    """The processor with the settings' limits. Raises UsageError for settings that it contradicts."""
    bare = Preprocessor(processor.tokenizer, processor, media)
    if "audio" in bare.kinds and media.audio_sampling_rate not in (None, bare.sampling_rate):
        raise UsageError(
            f"audio_sampling_rate is {media.audio_sampling_rate}, but this model hears {bare.sampling_rate} samples a "
            "second; leave the key out"
        )
    if media.use_audio_in_video and not getattr(processor, "weaves_sound_into_videos", True):
        raise UsageError(
            "use_audio_in_video: true, but for this model a video and its sound by turns is not built; leave the key "
            "out, and give rows their sound as <audio> beside the <video>"
        )
    video_size, packing = None, None
    if "video" in bare.kinds:
        settle_frame_cap(processor.video_processor)
        settle_downsampling_of_frames(processor.video_processor, media)
        video_size = limit_frames(processor.video_processor, media)
        packing = settle_packing(processor.video_processor, media)
    limited = media.video_max_pixels is not None or media.video_min_pixels is not None
    return replace(
        bare,
        pre_shrinks_images=hasattr(processor, "image_processor") and limit_images(processor, media),
        pre_shrinks_videos=limited and video_size is None,
        video_size=video_size,
        packing=packing,
    )


def _has_processor(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))


def _read(folder: Path, *, multimodal: bool) -> Any:
    auto_class: Any = AutoProcessor if multimodal or _has_processor(folder) else AutoTokenizer
    try:
        with quiet_transformers():
            family = _family(folder)
            if family is not None:
                return family.read_preprocessing(folder)
            return auto_class.from_pretrained(folder, trust_remote_code=False)
    except ImportError as error:
        raise ModelError(f"the processor of {folder} needs a package that is not installed: {error}") from error
    except Exception as error:
        # the library below fast tokenizers raises nothing more specific for a damaged vocabulary
        if not isinstance(error, OSError | ValueError | TypeError | KeyError | AttributeError) and (
            type(error) is not Exception
        ):
            raise
        check_tokenizer(folder, thoroughly=True)
        raise ModelError(
            f"the tokenizer or processor in {folder} cannot be loaded: {error}; its files may be incomplete, or need "
            "code from the folder, which Tunesmith does not run"
        ) from error


def _family(folder: Path) -> Family | None:
    """The family that the folder's config says; a tokenizer by itself, as adapters have it, carries the key too."""
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            return find_family(read_json(folder / name).get("model_type"))
    return None


def _ensure_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Pad with the end token where a tokenizer has no padding token: padding is never attended to nor in the loss."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
        log.note_once(f"the tokenizer has no padding token; {tokenizer.eos_token} is used")


def _join(kinds: tuple[MediaKind, ...]) -> str:
    """`images and videos`; `only text` for none."""
    return " and ".join(_SPOKEN[kind] for kind in kinds) or "only text"
