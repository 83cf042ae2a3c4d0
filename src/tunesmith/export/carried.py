"""What an exported folder says about its weights: config entries that changed, and the template it was trained with.

Files stay byte for byte where nothing in them changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith.chat.dialect import places_media
from tunesmith.chat.message import MediaKind
from tunesmith.chat.template import ChatTemplate, TemplateRefusalError
from tunesmith.models.load import load_config
from tunesmith.models.score_head import classification_config

_TEMPLATE_FILE = "chat_template.jinja"
_OLDER_TEMPLATE_FILE = "chat_template.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_PROCESSOR_CONFIGS = ("processor_config.json", "preprocessor_config.json")
_KINDS: tuple[MediaKind, ...] = ("image", "video", "audio")
_PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d"},
]


def adjust_config(folder: Path, *, untied: bool, dtype: torch.dtype | None) -> None:
    """Write into config.json that embedding and head are no longer tied, and a new number format."""
    changes: dict[str, Any] = {}
    if untied:
        changes["tie_word_embeddings"] = False
    if dtype is not None:
        changes |= dict.fromkeys(("dtype", "torch_dtype"), str(dtype).removeprefix("torch."))
    if not changes:
        return
    path = folder / "config.json"
    config = _read(path)
    for part in [config, *(value for value in config.values() if isinstance(value, dict))]:
        part.update({key: value for key, value in changes.items() if key in part})
    if untied:
        config["tie_word_embeddings"] = False  # transformers ties by default where the key is absent
    _write(path, config)


def name_scoring_class(folder: Path, *, pad_token_id: int | None) -> None:
    """Name the class that transformers reads a reward model's folder with, where it has one, in config.json.

    pad_token_id: by which that class finds the end of a text, for configs that name none
    """
    scoring = classification_config(load_config(folder))
    if scoring is None:
        return
    config = _read(folder / "config.json")
    padding = {"pad_token_id": pad_token_id} if config.get("pad_token_id") is None else {}
    _write(folder / "config.json", {**config, **scoring, **padding})


def carry_template(folder: Path, *, used: ChatTemplate, own: ChatTemplate | None) -> bool:
    """Put the template `used` in training into `folder`, and return True, unless the model's `own` writes the same.

    It goes where the tokenizer has it in folders whose processor is code of their own: from a file of its own,
    transformers 4 hands it to the processor, which knows no such argument.
    """
    if own is not None and _same_text(used, own):
        return False
    if not (folder / _TEMPLATE_FILE).is_file() and _has_own_processor(folder):
        content = {**_read(folder / _TOKENIZER_CONFIG), "chat_template": used.source}
        _write(folder / _TOKENIZER_CONFIG, content)
        return True
    (folder / _OLDER_TEMPLATE_FILE).unlink(missing_ok=True)
    (folder / _TEMPLATE_FILE).write_text(used.source, encoding="utf-8")
    return True


def _has_own_processor(folder: Path) -> bool:
    return any("AutoProcessor" in _read(folder / name).get("auto_map", {}) for name in _PROCESSOR_CONFIGS)


def _read(file: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return contents


def _write(file: Path, contents: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _same_text(first: ChatTemplate, second: ChatTemplate) -> bool:
    system = {"role": "system", "content": "s"}
    seen = [_PROBE, [system, *_PROBE], *(_beside(kind) for kind in _KINDS if places_media(first, "user", kind))]
    return all(
        _render(first, messages, prompt=prompt) == _render(second, messages, prompt=prompt)
        for messages in seen
        for prompt in (False, True)
    )


def _beside(kind: MediaKind) -> list[dict[str, Any]]:
    """A question with a medium in front: templates differ in what they write between the two."""
    return [{"role": "user", "content": [{"type": kind}, {"type": "text", "text": "a"}]}, *_PROBE[1:]]


def _render(template: ChatTemplate, messages: list[dict[str, Any]], *, prompt: bool) -> str | None:
    try:
        return template.render(messages[: len(messages) - prompt], add_generation_prompt=prompt)
    except TemplateRefusalError:
        return None
