"""What the result of encoding a row depends on besides the row, as one short name.

Everything is taken by content, so that a changed tokenizer, template or option, another release of a library or an
edited line of the encoding itself gives another name. Knows no rows and no files of models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.models.preprocessing.processor import Preprocessor

_OPTIONS = {"cutoff_len", "overlong", "train_on_prompt", "mask_history", "default_system"}
"""The data settings that change ids or labels; the template and its options are taken as they are."""

_LIBRARIES = ("transformers", "tokenizers", "jinja2", "pillow")
_PACKAGES = ("tunesmith.chat", "tunesmith.data", "tunesmith.media", "tunesmith.models")
_SOURCES = (".py", ".jinja", ".toml")


def encoder_key(
    preprocessor: Preprocessor, template: ChatTemplate, data: DataSettings, rows: RowKind = "conversations"
) -> str:
    """32 hex digits: the same for two encoders that give the same ids and labels for every row.

    rows: what the stage learns from
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (*_parts(preprocessor, template, data), rows.encode()):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _parts(preprocessor: Preprocessor, template: ChatTemplate, data: DataSettings) -> Iterator[bytes]:
    tokenizer: Any = preprocessor.tokenizer
    yield tokenizer.backend_tokenizer.to_str().encode()
    yield _as_bytes([type(tokenizer).__name__, tokenizer.special_tokens_map])
    if preprocessor.processor is not None:
        yield _as_bytes([type(preprocessor.processor).__name__, preprocessor.processor.to_dict()])
    yield _as_bytes([preprocessor.media.model_dump(mode="json"), preprocessor.video_size])
    yield _as_bytes([preprocessor.pre_shrinks_images, preprocessor.pre_shrinks_videos])
    yield _as_bytes([template.source, dict(template.special_tokens), dict(template.options)])
    yield _as_bytes(data.model_dump(mode="json", include=_OPTIONS))
    yield _as_bytes({name: version(name) for name in _LIBRARIES})
    yield _code()


def _as_bytes(value: object) -> bytes:
    """`value` as JSON; what is no JSON (sizes, enumerations) as it prints itself."""
    return json.dumps(value, sort_keys=True, default=repr).encode()


@cache
def _code() -> bytes:
    """The digest of this package's own code that encoding runs through."""
    digest = hashlib.blake2b()
    for package in _PACKAGES:
        for file in _files(resources.files(package)):
            digest.update(file.read_bytes())
    return digest.digest()


def _files(folder: Any) -> Iterator[Any]:
    for entry in sorted(folder.iterdir(), key=lambda entry: str(entry.name)):
        if entry.is_dir():
            yield from _files(entry)
        elif entry.name.endswith(_SOURCES):
            yield entry
