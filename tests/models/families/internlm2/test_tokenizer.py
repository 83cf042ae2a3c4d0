"""The tokenizer of a tokenizer.model against sentencepiece itself, as the published slow class calls it.

That class cuts the text at special tokens and lets sentencepiece encode each piece between them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizerBase

from tests.tiny import tiny_folder
from tests.tiny.internlm import SPECIAL_TOKENS
from tunesmith.config.model import MediaSettings
from tunesmith.errors import ModelError
from tunesmith.models.preprocessing.processor import read_preprocessor

TEXTS = (
    "There are 3 red circles on the left.",
    "你好,世界! 图片里有什么?",
    "  two  spaces   three ",
    "trailing \n\nnew\tlines \n",
    "😀👩‍🚀 Grüße, naïve café, Ａ①",
    "def f(x):\n    return x + 1",
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
    'a<|action_start|><|plugin|> {"x": 1}<|action_end|> b',
    "</s><s>x 0123",
    "",
    " ",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("internlm2", tmp_path_factory.mktemp("internlm2"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return read_preprocessor(folder, media=MediaSettings()).tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_sentencepiece_between_the_special_tokens(
    text: str, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    special = {token: tokenizer.convert_tokens_to_ids(token) for token in (*SPECIAL_TOKENS, "<s>", "</s>")}
    cut = re.split(f"({'|'.join(map(re.escape, special))})", text)
    expected = [number for part in cut for number in ([special[part]] if part in special else pieces.encode(part))]

    assert tokenizer(text).input_ids == [pieces.bos_id(), *expected]


def test_special_tokens_stand_where_the_config_puts_them(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    published = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]

    assert {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()} == {
        int(number): token["content"] for number, token in published.items()
    }
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "</s>")


@pytest.mark.parametrize("text", [text for text in TEXTS if "<" not in text])
def test_decoding_gives_the_text_again(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_saved_again_it_is_what_was_published(folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    published, written = (json.loads((place / "tokenizer_config.json").read_text()) for place in (folder, tmp_path))
    special = published.pop("additional_special_tokens")

    assert (tmp_path / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()
    assert {key: written[key] for key in published} == published
    assert sorted(written["additional_special_tokens"]) == sorted(special)


def test_without_a_config_json_it_is_still_known(
    folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """As beside an adapter; it is read from the tokenizer.json that was written now."""
    tokenizer.save_pretrained(tmp_path)
    again = read_preprocessor(tmp_path, media=MediaSettings()).tokenizer

    assert type(again) is type(tokenizer)
    assert [again(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]


def test_an_added_token_is_saved_too(folder: Path, tmp_path: Path) -> None:
    tokenizer = read_preprocessor(folder, media=MediaSettings()).tokenizer
    tokenizer.add_tokens(["<|new|>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())

    assert written["added_tokens_decoder"][str(len(tokenizer) - 1)]["content"] == "<|new|>"
    assert "<|new|>" in written["additional_special_tokens"]
    assert read_preprocessor(tmp_path, media=MediaSettings()).tokenizer.convert_tokens_to_ids("<|new|>") == 640


def test_a_folder_without_either_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((folder / name).read_text())

    with pytest.raises(ModelError, match="has no tokenizer"):
        read_preprocessor(tmp_path, media=MediaSettings())
