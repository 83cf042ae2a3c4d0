from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken

from tests.tiny.tokenizer import corpus
from tunesmith.models.families.sentencepiece_bpe import read_sentencepiece

SPECIAL = {
    0: AddedToken("<unk>", special=True),
    1: AddedToken("<s>", special=True),
    2: AddedToken("</s>", special=True),
}


def write_model(file: Path, **options: Any) -> Path:
    """A small model of the corpus; `options` are sentencepiece's, over those that leave text as it is."""
    model = io.BytesIO()
    given: dict[str, Any] = {
        "model_type": "bpe",
        "vocab_size": 560,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "num_threads": 1,
        "minloglevel": 2,
    }
    SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, **(given | options))
    file.write_bytes(model.getvalue())
    return file


@pytest.mark.parametrize("prefix", [True, False])
def test_it_gives_sentencepieces_ids_with_and_without_a_space_before_the_text(prefix: bool, tmp_path: Path) -> None:
    file = write_model(tmp_path / "tokenizer.model", add_dummy_prefix=prefix)
    pieces, tokenizer = SentencePieceProcessor(model_file=str(file)), read_sentencepiece(file, SPECIAL)

    for text in ("hello red circle", " a  b", "你好 😀", "x\n\ty", *corpus()[::7]):
        assert tokenizer.encode(text).ids == pieces.encode(text)


def test_offsets_are_those_of_the_text(tmp_path: Path) -> None:
    tokenizer = read_sentencepiece(write_model(tmp_path / "tokenizer.model"), SPECIAL)
    text = "a red circle 你好"
    encoded = tokenizer.encode(text)
    start, end = encoded.char_to_token(text.index("red")), encoded.char_to_token(text.index("circle") - 1)

    assert encoded.offsets[0][0] == 0
    assert encoded.offsets[-1][1] == len(text)
    assert "".join(text[slice(*offsets)] for offsets in encoded.offsets[start:end]).strip() == "red"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remove_extra_whitespaces": True}, "rewrites text before encoding it"),
        ({"normalization_rule_name": "nmt_nfkc"}, "rewrites text before encoding it"),
        ({"byte_fallback": False, "vocab_size": 300}, "has no pieces for single bytes"),
    ],
)
def test_models_that_change_text_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write_model(tmp_path / "tokenizer.model", **options)

    with pytest.raises(ValueError, match=message):
        read_sentencepiece(file, SPECIAL)
