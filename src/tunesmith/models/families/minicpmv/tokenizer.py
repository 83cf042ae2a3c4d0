"""The tokenizer of a published folder, read without its code, and written so that its code reads it too.

Knows tokenizer files; nothing of media or templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from tunesmith.models.families.minicpmv.published import TOKENIZER_CONFIG
from tunesmith.models.quiet import quiet_transformers

_WHOLE_FILE = "tokenizer.json"
_VOCABULARY = ("vocab.json", "merges.txt")
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer of `folder`, whose tokenizer_config.json is `config`: its tokenizer.json, or else Qwen2's files.

    Raises OSError where there is neither, ValueError where tokens do not get the ids that `config` gives them.
    """
    tokenizer: PreTrainedTokenizerFast
    with quiet_transformers():  # it warns that the folder names a class of its own
        if (folder / _WHOLE_FILE).is_file():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        elif all((folder / name).is_file() for name in _VOCABULARY):
            tokenizer = Qwen2Tokenizer.from_pretrained(folder)
        else:
            raise FileNotFoundError(f"{folder} has neither {_WHOLE_FILE} nor {' and '.join(_VOCABULARY)}")
    _require_ids(tokenizer, config)
    return tokenizer


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path, *, published: Mapping[str, Any]) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`, the latter with all that was `published`.

    transformers writes its own class and its own name for the additional special tokens instead, neither of which the
    code in published folders reads.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(folder / _WHOLE_FILE))
    written = json.dumps(_config(tokenizer, published), indent=2, ensure_ascii=False)
    (folder / TOKENIZER_CONFIG).write_text(written + "\n", encoding="utf-8")


def _config(tokenizer: PreTrainedTokenizerFast, published: Mapping[str, Any]) -> dict[str, Any]:
    tokens = {str(number): _flags(token) for number, token in tokenizer.added_tokens_decoder.items()}
    named = {name: tokenizer.special_tokens_map[name] for name in _NAMED if name in tokenizer.special_tokens_map}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.model_max_length,
        **published,
        "added_tokens_decoder": tokens,
        "additional_special_tokens": [str(token) for token in tokenizer.extra_special_tokens],
        **{name: token for name, token in named.items() if _content(published.get(name)) != token},
    }
    if tokenizer.padding_side != published.get("padding_side", PreTrainedTokenizerFast.padding_side):
        config["padding_side"] = tokenizer.padding_side
    return config


def _flags(token: Any) -> dict[str, Any]:
    names = ("lstrip", "normalized", "rstrip", "single_word", "special")
    return {"content": token.content, **{name: value for name, value in token.__getstate__().items() if name in names}}


def _content(token: object) -> object:
    """The text of a token that may be written with its flags."""
    return token.get("content") if isinstance(token, dict) else token


def _require_ids(tokenizer: PreTrainedTokenizerFast, config: Mapping[str, Any]) -> None:
    for number, token in config.get("added_tokens_decoder", {}).items():
        content = str(_content(token))
        got = tokenizer.convert_tokens_to_ids(content)
        if got != int(number):
            raise ValueError(
                f"{TOKENIZER_CONFIG} gives {content!r} the id {number}, but by the vocabulary it is {got}; one "
                "of these files is not this model's"
            )
