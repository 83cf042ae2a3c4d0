"""A model's tokenizer and, where it reads images, its processor, set up as the settings say.

The processor is the model's own; only its limits (pixels, tiles) are set here. Knows nothing of rows or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin

from tunesmith import log
from tunesmith.config.model import MediaSettings, ModelSettings
from tunesmith.errors import ModelError
from tunesmith.models.image_limits import limit_images
from tunesmith.models.load import is_multimodal, load_config, require_name
from tunesmith.models.locate import locate
from tunesmith.models.quiet import quiet_transformers
from tunesmith.models.vocabulary import add_tokens
from tunesmith.models.weight_files import check_tokenizer


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """What turns text and media into a model's input.

    tokenizer:   always there, with a padding token
    processor:   for multimodal models; its tokenizer is `tokenizer`
    pre_shrinks: image_max_pixels and image_min_pixels must be applied before the processor sees an image, because
                 it has no pixel budget of its own; False where the processor was given them
    image_min_pixels, image_max_pixels: the two settings, for whoever applies them before the processor
    """

    tokenizer: PreTrainedTokenizerBase
    processor: ProcessorMixin | None
    pre_shrinks: bool = False
    image_min_pixels: int | None = None
    image_max_pixels: int | None = None

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
    loaded = _read(AutoProcessor if multimodal or _has_processor(folder) else AutoTokenizer, folder)
    if isinstance(loaded, PreTrainedTokenizerBase):
        if multimodal:
            raise ModelError(
                f"{folder} is a multimodal model without a processor: copy preprocessor_config.json (or "
                "processor_config.json) of the original model into it"
            )
        _ensure_padding(loaded)
        return Preprocessor(loaded, None)
    _ensure_padding(loaded.tokenizer)
    return Preprocessor(
        loaded.tokenizer,
        loaded,
        pre_shrinks=limit_images(loaded, media),
        image_min_pixels=media.image_min_pixels,
        image_max_pixels=media.image_max_pixels,
    )


def _has_processor(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json"))


def _read(auto_class: type[AutoProcessor] | type[AutoTokenizer], folder: Path) -> Any:
    try:
        with quiet_transformers():
            return auto_class.from_pretrained(folder, trust_remote_code=False)
    except ImportError as error:
        raise ModelError(f"the processor of {folder} needs a package that is not installed: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"the tokenizer or processor in {folder} cannot be loaded: {error}; its files may be incomplete, or need "
            "code from the folder, which Tunesmith does not run"
        ) from error


def _ensure_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Pad with the end token where a tokenizer has no padding token: padding is never attended to nor in the loss."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
        log.note_once(f"the tokenizer has no padding token; {tokenizer.eos_token} is used")
