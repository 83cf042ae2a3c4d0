"""The tokenizer of a published text model, read without its code, and saved so that its code reads it again.

It is tokenizer.json as it stands, or tokenizer.model converted; classes of transformers' own rebuild the former from
its vocabulary and lose what else it says.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from tunesmith.models.families.sentencepiece_bpe import read_sentencepiece
from tunesmith.models.files.weight_files import read_json

_CONFIG, _FAST, _SENTENCEPIECE = "tokenizer_config.json", "tokenizer.json", "tokenizer.model"
_SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class PublishedTokenizer(PreTrainedTokenizerFast):
    """transformers' general fast tokenizer that knows how its folder was published.

    published: the folder's tokenizer_config.json, with `model_type` beside it, by which a folder without a config.json
               is known
    source:    the folder's tokenizer.model, None where there is none
    """

    vocab_files_names: dict[str, str] = {"tokenizer_file": _FAST}  # noqa: RUF012 - as transformers declares it
    padding_side = "left"
    published: dict[str, Any]
    source: Path | None

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """As transformers has it, unless the backend is given: transformers' own reading of tokenizer.model differs."""
        if "tokenizer_object" in kwargs:
            return kwargs
        native: dict[str, Any] = super().convert_to_native_format(trust_remote_code, **kwargs)  # type: ignore[no-untyped-call]
        return native

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """As transformers has it, with tokenizer_config.json in its published form and tokenizer.model beside it."""
        written = super().save_pretrained(save_directory, *args, **kwargs)
        folder = Path(save_directory)
        text = json.dumps(self._published_config(), indent=2, ensure_ascii=False)
        (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
        if self.source is not None and self.source.is_file() and self.source.parent.resolve() != folder.resolve():
            shutil.copyfile(self.source, folder / _SENTENCEPIECE)
        return written

    def _published_config(self) -> dict[str, Any]:
        """The published keys, and the tokens there are now: some may have been added."""
        added = {str(number): _flags(token) for number, token in self.added_tokens_decoder.items()}
        named = {name: str(token) for name, token in self.special_tokens_map.items() if isinstance(token, str)}
        known = set(named.values())
        special = [token.content for token in self.added_tokens_decoder.values() if token.special]
        further = [token for token in special if token not in known]
        return {**self.published, **named, "added_tokens_decoder": added, "additional_special_tokens": further}


def read_published_tokenizer(folder: Path, *, model_type: str) -> PublishedTokenizer:
    """The tokenizer of `folder`, with a BOS first unless its config says otherwise, as its published class has it.

    Raises FileNotFoundError where there is neither tokenizer.json nor tokenizer.model, ValueError for one of another
    kind.
    """
    published = read_json(folder / _CONFIG) if (folder / _CONFIG).is_file() else {}
    source = folder / _SENTENCEPIECE
    given: dict[str, Any] = {name: published.get(name, default) for name, default in _SPECIAL.items()}
    if not (folder / _FAST).is_file():
        if not source.is_file():
            raise FileNotFoundError(f"{folder} has neither {_FAST} nor {_SENTENCEPIECE}")
        given["tokenizer_object"] = read_sentencepiece(source, _added_tokens(published, source))
    tokenizer: PublishedTokenizer = PublishedTokenizer.from_pretrained(
        folder,
        add_bos_token=published.get("add_bos_token", True),
        add_eos_token=published.get("add_eos_token", False),
        clean_up_tokenization_spaces=published.get("clean_up_tokenization_spaces", False),
        **given,
    )
    tokenizer.published = {**published, "model_type": model_type}
    tokenizer.source = source if source.is_file() else None
    return tokenizer


def _added_tokens(published: dict[str, Any], source: Path) -> dict[int, AddedToken]:
    """Special tokens by id: those that tokenizer_config.json lists, and the three that every such model has."""
    pieces = SentencePieceProcessor(model_file=str(source))
    named = (str(published.get(name, default)) for name, default in _SPECIAL.items())
    known = {pieces.piece_to_id(token): AddedToken(token, normalized=False, special=True) for token in named}
    listed = {int(number): token for number, token in published.get("added_tokens_decoder", {}).items()}
    return known | {number: _as_token(token) for number, token in listed.items()}


def _as_token(token: dict[str, Any]) -> AddedToken:
    return AddedToken(token["content"], **{name: bool(token.get(name, False)) for name in _FLAGS})


def _flags(token: AddedToken) -> dict[str, Any]:
    state: dict[str, Any] = token.__getstate__()
    return {"content": token.content} | {name: state[name] for name in _FLAGS}
