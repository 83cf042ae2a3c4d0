"""The ids of the tokens that mark images, slices and sound, as a folder's tokenizer files have them.

Which token plays which role stands in preprocessor_config.json. Reads JSON only; no tokenizer is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.models.files.weight_files import read_json

_ROLES: Mapping[str, tuple[str, str]] = {
    "unk": ("unk", "<unk>"),
    "image_start": ("im_start", "<image>"),
    "image_end": ("im_end", "</image>"),
    "slice_start": ("slice_start", "<slice>"),
    "slice_end": ("slice_end", "</slice>"),
    "audio_start": ("audio_start", "<|audio_start|>"),
    "audio_end": ("audio_end", "<|audio_end|>"),
}
"""By role: the key of preprocessor_config.json that names the token, and the name used where it does not."""


def read_media_token_ids(folder: Path) -> dict[str, int] | None:
    """Ids by role, of those roles the tokenizer in `folder` has a token for; None if there is no tokenizer to ask."""
    ids = _special_tokens(folder)
    if not ids:
        return None
    named = _read(folder / "preprocessor_config.json")
    tokens = {role: named.get(key, usual) for role, (key, usual) in _ROLES.items()}
    return {role: ids[token] for role, token in tokens.items() if token in ids}


def _special_tokens(folder: Path) -> dict[str, int]:
    listed = _read(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    if listed:
        return {entry["content"]: int(token_id) for token_id, entry in listed.items()}
    added = _read(folder / "tokenizer.json").get("added_tokens", [])
    return {entry["content"]: entry["id"] for entry in added}


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
