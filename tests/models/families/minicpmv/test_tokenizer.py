"""Tokenizers of published folders: read whichever files they have, and written so that their own code reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.tiny.minicpm import write_files
from tunesmith.models.families.minicpmv.published import read_published
from tunesmith.models.families.minicpmv.tokenizer import read_tokenizer, write_tokenizer

KINDS = ("minicpmv_2_6", "minicpmv_4_0", "minicpmv_4_5", "minicpmo_2_6")
TEXTS = (
    "What is in the picture? 图片里有什么? naïve café 🎵👩‍🚀 123456",
    "<|im_start|>user\n<image_id>0</image_id><image><unk><unk></image>\n<slice><unk></slice><|im_end|>\n",
    "<think>\nno\n</think>\n\n<tool_call>{}</tool_call>",
    "   spaces   around\n\n\tand é, e\u0301 ",
    "",
)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The files of a tiny model without its weights. Read-only."""

    def write(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        write_files(kind, folder)
        return folder

    return cache(write)


def read(folder: Path) -> PreTrainedTokenizerFast:
    return read_tokenizer(folder, read_published(folder).tokenizer_config)


def copy_some(source: Path, target: Path, *, but: tuple[str, ...]) -> Path:
    target.mkdir()
    for file in source.iterdir():
        if file.name not in but:
            (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("kind", ["minicpmv_2_6", "minicpmv_4_5", "minicpmo_2_6"])
def test_tokenizer_json_or_vocabulary_and_merges(kind: str, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    whole = read(copy_some(folder_of(kind), tmp_path / "whole", but=("vocab.json", "merges.txt")))
    parts = read(copy_some(folder_of(kind), tmp_path / "parts", but=("tokenizer.json",)))

    for text in TEXTS:
        assert whole(text).input_ids == parts(text).input_ids, text
    assert whole.special_tokens_map == parts.special_tokens_map
    assert whole.chat_template == parts.chat_template


@pytest.mark.parametrize("kind", KINDS)
def test_marks_are_one_token_each(kind: str, folder_of: Callable[[str], Path]) -> None:
    tokenizer = read(folder_of(kind))
    marks = ["<image_id>", "</image_id>", "<image>", "<unk>", "</image>", "<slice>", "</slice>"]

    ids = tokenizer("".join(marks), add_special_tokens=False).input_ids

    assert tokenizer.convert_ids_to_tokens(ids) == marks
    assert ids[3] == tokenizer.unk_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_written_in_the_published_form(kind: str, folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of(kind)
    tokenizer, published = read(folder), read_published(folder).tokenizer_config
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)  # which the backend remembers

    write_tokenizer(tokenizer, tmp_path, published=published)

    written = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert {name: written[name] for name in ("tokenizer_class", "auto_map")} == {
        name: published[name] for name in ("tokenizer_class", "auto_map")
    }
    assert "extra_special_tokens" not in written and set(written["additional_special_tokens"]) >= {"<image>", "<unk>"}
    assert written["added_tokens_decoder"] == published["added_tokens_decoder"]
    assert written["chat_template"] == published["chat_template"]
    again = read(tmp_path)
    for text in TEXTS:
        assert again(text).input_ids == tokenizer(text).input_ids, text


def test_added_tokens_are_written(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("minicpmv_4_5")
    tokenizer = read(folder)
    tokenizer.add_tokens(["<new>"])

    write_tokenizer(tokenizer, tmp_path, published=read_published(folder).tokenizer_config)

    number = tokenizer.convert_tokens_to_ids("<new>")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["added_tokens_decoder"][str(number)]["content"] == "<new>"
    assert read(tmp_path)("a<new>").input_ids[-1] == number


def test_a_config_of_another_vocabulary_is_refused(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy_some(folder_of("minicpmv_4_5"), tmp_path / "mixed", but=("tokenizer.json", "vocab.json"))
    vocabulary = json.loads((folder_of("minicpmv_4_5") / "vocab.json").read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "extra": len(vocabulary)}), encoding="utf-8")

    with pytest.raises(ValueError, match=r"gives '.*' the id \d+, but by the vocabulary it is \d+"):
        read(folder)


def test_a_folder_without_a_tokenizer_says_which_files_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither tokenizer.json nor vocab.json and merges.txt"):
        read(tmp_path)
